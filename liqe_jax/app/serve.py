"""The server of the page: one process, without sharing links, with limits on uploads."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from liqe_jax.app.limits import Limits
from liqe_jax.app.page import MAX_PHOTOGRAPHS, build
from liqe_jax.app.photograph import warm_up
from liqe_jax.app.ports import free_port
from liqe_jax.app.style import STYLE
from liqe_jax.app.uploads import stored_bytes, sweep, upload_folder
from liqe_jax.images.preprocess import PRESETS
from liqe_jax.scoring.model import Model

SWEEP_EVERY = 60.0  # seconds

# Drops of the largest size that may be stored at a time, of visitors who wait or have left.
MOST_WAITING = 10


def serve(
    model: Model,
    *,
    preprocess: str = "even",
    host: str = "127.0.0.1",
    port: int | None = None,
    max_megabytes: float = 20,
    open_browser: bool = False,
    started: Callable[[str], None] = lambda url: None,
) -> None:
    """Serves the page until the process is interrupted or terminated.

    Args:
      model: the model.
      preprocess: a key of `PRESETS`.
      host: address to listen on; "0.0.0.0" accepts other computers.
      port: port to listen on; 0 takes any free one, None the first free one from 7860.
      max_megabytes: size limit of a photograph, in units of 1,048,576 bytes.
      open_browser: whether to open the page in the browser.
      started: called with the address of the page when it is ready.

    Raises:
      UsageError: the server cannot listen on the address.
    """
    preset, host = PRESETS[preprocess], host.strip("[]")
    port = free_port(host, port)
    warm_up(model, preset)
    with upload_folder() as folder, _terminated() as stop:
        page = build(model, preset, folder, max_megabytes)
        name = f"[{host}]" if ":" in host else host
        _, url, _ = page.launch(**launch_options(folder, max_megabytes), server_name=name, server_port=port)
        try:
            started(url)
            if open_browser:
                webbrowser.open(url)
            stop.wait()
        finally:
            page.close(verbose=False)


def launch_options(folder: Path, max_megabytes: float) -> dict[str, Any]:
    """Arguments of `gr.Blocks.launch` for a page that stores nothing and reports nothing."""
    limit = int(max_megabytes * 1024 * 1024)
    return {
        "max_file_size": limit,
        "app_kwargs": {
            "lifespan": lambda _: _sweeping(folder),
            "middleware": [
                Middleware(
                    Limits,
                    most=MAX_PHOTOGRAPHS * (limit + 10_000),
                    stored=lambda: stored_bytes(folder),
                    most_stored=MOST_WAITING * MAX_PHOTOGRAPHS * limit,
                )
            ],
        },
        "share": False,
        "run_history": False,  # would keep uploads and results in the browser's storage
        "enable_monitoring": False,
        "mcp_server": False,
        "ssr_mode": False,
        "pwa": False,
        "footer_links": [],
        "show_error": False,
        "quiet": True,
        "inline": False,
        "prevent_thread_lock": True,
        # Sessions of visitors who left; active ones do not need it.
        "state_session_capacity": 8,
        # System fonts, so that no font is downloaded.
        "theme": gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        "css": STYLE,
    }


@contextlib.contextmanager
def _terminated() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, so that uploads are deleted on exit; only the main thread receives signals."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.asynccontextmanager
async def _sweeping(folder: Path) -> AsyncIterator[None]:
    """Deletes abandoned uploads while the server runs."""

    async def again_and_again() -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            await asyncio.to_thread(sweep, folder)

    task = asyncio.create_task(again_and_again())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
