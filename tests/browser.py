"""A real browser without a window, and the page that it visits; used by tests and by tools/app_screenshot.py."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parent.parent

# Debian's, Ubuntu's and Google's names. Playwright's own build is not used: it is a download of its own.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

STARTING = 600.0  # seconds a server may take on a very busy machine
ENDING = 60.0


def installed() -> str | None:
    """The path of a Chromium, `LIQE_BROWSER` before all others."""
    return os.environ.get("LIQE_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


class Server:
    """`liqe app` in a process of its own.

    Attributes:
      url: of the page.
      process: the server's.
      temporary: where its temporary files go.
    """

    def __init__(self, *arguments: str | os.PathLike):
        self.temporary = Path(tempfile.mkdtemp(prefix="liqe-test-"))
        # One device, not the eight that tests pretend to have.
        environment = {**os.environ, "XLA_FLAGS": "", "TMPDIR": str(self.temporary), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "liqe_jax.cli.main", "app", "--port", "0", "--no-open", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self.said: list[str] = []
        self._started = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._started.wait(STARTING)
        found = re.search(r"http://\S+", "".join(self.said))
        if not found:
            self.end()
            raise RuntimeError(f"The page did not start: {''.join(self.said)}")
        self.url = found[0]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if "http://" in line:
                self._started.set()
        self._started.set()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends it and returns its exit status."""
        try:
            if self.process.poll() is None:
                self.process.send_signal(how)
            status = self.process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._reader.join(ENDING)
            if self.process.stdout is not None:
                self.process.stdout.close()
        return status

    def files(self) -> list[str]:
        """What is in its temporary folder."""
        return [str(path.relative_to(self.temporary)) for path in self.temporary.rglob("*") if path.is_file()]


@contextlib.contextmanager
def served(*arguments: str | os.PathLike) -> Iterator[Server]:
    """A server that ends with the block."""
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.end()
        shutil.rmtree(server.temporary, ignore_errors=True)


@contextlib.contextmanager
def headless(path: str) -> Iterator[Browser]:
    """The browser at `path`, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def visiting(browser: Browser, url: str, width: int, height: int, **options) -> Iterator[Page]:
    """The page in a window of that many pixels, when it can be used."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    try:
        page = context.new_page()
        page.set_default_timeout(300_000)  # for the same reason
        page.goto(url)
        page.locator("#drop input[type=file]").wait_for(state="attached")
        yield page
    finally:
        context.close()


def drop(page: Page, place: str, *files: str | os.PathLike) -> None:
    """Gives files to one of the places to drop them: "drop", "drop-A", "drop-B"."""
    page.locator(f"#{place} input[type=file]").set_input_files([os.fspath(file) for file in files])


def settled(page: Page, text: str) -> None:
    """Waits until the page says `text` and all pictures are there."""
    page.get_by_text(text).first.wait_for()
    deadline = time.monotonic() + 30
    ready = "[...document.images].every(image => image.complete)"
    while not page.evaluate(ready) and time.monotonic() < deadline:
        time.sleep(0.1)


# Elements that stick out of the window sideways, as text; those of no size or that are not shown do not count.
STICKING_OUT = """() => [...document.querySelectorAll('body *')].filter(element => {
  const box = element.getBoundingClientRect();
  return box.width > 1 && box.height > 1 && getComputedStyle(element).visibility !== 'hidden'
    && (box.right > window.innerWidth + 1 || box.left < -1);
}).map(element => element.outerHTML.slice(0, 200))"""


def sticking_out(page: Page) -> list[str]:
    """Elements that do not fit into the window's width."""
    found = page.evaluate(STICKING_OUT)
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    return found + (["the document"] if wide else [])
