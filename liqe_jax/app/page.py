"""The page: two tabs of Gradio components, and what happens when photographs are dropped.

Results are HTML with the pictures in it, so Gradio writes no file for them. It would keep the last
values of every visitor in memory, though, and the last request; both are dropped as soon as they are answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from liqe_jax.app import about, markup
from liqe_jax.app.compare import compare, numbers
from liqe_jax.app.judge import Judgement, draw_map, judge
from liqe_jax.app.uploads import take
from liqe_jax.errors import ImageError
from liqe_jax.images.preprocess import Preset
from liqe_jax.scoring.model import Model
from liqe_jax.scoring.result import Failure

MAX_PHOTOGRAPHS = 20  # per drop
MAX_WAITING = 32  # visitors; who comes later is told so


def build(model: Model, preset: Preset, folder: Path, max_megabytes: float) -> gr.Blocks:
    """The page, not launched yet.

    Args:
      model: what judges.
      preset: how it chooses patches.
      folder: the one of `upload_folder`, which must be open.
      max_megabytes: what the page says of the size of uploads; the server enforces it.
    """
    with gr.Blocks(title="LIQE", analytics_enabled=False) as page:
        gr.HTML(about.heading(model, preset.name, max_megabytes), apply_default_css=False)
        with gr.Tab("Photographs"):
            _photographs(page, model, preset, folder)
        with gr.Tab("Compare"):
            _compare(page, model, preset, folder)
    page.queue(api_open=False, max_size=MAX_WAITING)
    _forget_requests(page)
    return page


def _photographs(page: gr.Blocks, model: Model, preset: Preset, folder: Path) -> None:
    drop = gr.File(file_count="multiple", label="Drop photographs here, or pick some", height=150, elem_id="drop")
    status = gr.HTML(elem_id="status", apply_default_css=False)
    with gr.Column(elem_classes="rows", elem_id="rows"):
        slots = [gr.HTML(apply_default_css=False) for _ in range(MAX_PHOTOGRAPHS)]

    def dropped(uploads: list[dict[str, Any]] | None, request: gr.Request) -> Iterator[list[Any]]:
        """Scores of all photographs, then their maps, which take longer."""
        judged: list[tuple[int, Judgement]] = []
        count = min(len(uploads or ()), MAX_PHOTOGRAPHS)
        too_many = f" Only the first {count} of {len(uploads)} are judged." if uploads and len(uploads) > count else ""
        try:
            # The drop zone is emptied: what it would link to is gone soon.
            yield [None, markup.status(f"Judging 1 of {count} ..."), *[""] * MAX_PHOTOGRAPHS]
            for slot, (name, content) in enumerate(take(uploads or (), folder, count)):
                result = _judged(name, content, model, preset)
                if isinstance(result, Failure):
                    html = markup.failed(result)
                else:
                    html = markup.row(result, len(judged), None)
                    judged.append((slot, result))
                doing = f"Judging {slot + 2} of {count} ..." if slot + 1 < count else "Drawing maps ..."
                yield [gr.skip(), markup.status(doing + too_many), *_only(slot, html)]
            for place, (slot, judgement) in enumerate(judged):
                html = markup.row(judgement, place, draw_map(judgement, model, preset))
                yield [gr.skip(), gr.skip(), *_only(slot, html)]
            done = f"{len(judged)} judged, {count - len(judged)} failed.{too_many}"
            yield [gr.skip(), markup.status(done), *_only(-1)]
        finally:
            _forget(page, request)

    drop.upload(dropped, drop, [drop, status, *slots], preprocess=False, **_event(status))


def _compare(page: gr.Blocks, model: Model, preset: Preset, folder: Path) -> None:
    with gr.Row(equal_height=False):
        sides = [_side(number) for number in range(2)]
    verdict = gr.HTML(elem_id="difference", apply_default_css=False)
    both = [own for _, _, own in sides]

    def compared(first: Any, second: Any, request: gr.Request) -> str:
        try:
            return compare((first, second), model.tasks)
        finally:
            _forget(page, request)

    for side, (drop, result, own) in enumerate(sides):
        dropped = _one_dropped(page, model, preset, folder, side)
        event = drop.upload(dropped, drop, [drop, result, own], preprocess=False, **_event(result))
        # The numbers of both photographs wait in the visitor's browser and come back to be compared.
        event.then(compared, both, verdict, **_event(verdict))


def _one_dropped(
    page: gr.Blocks, model: Model, preset: Preset, folder: Path, side: int
) -> Callable[[dict[str, Any] | None, gr.Request], Iterator[list[Any]]]:
    def dropped(upload: dict[str, Any] | None, request: gr.Request) -> Iterator[list[Any]]:
        try:
            yield [None, markup.status("Judging ..."), None]
            for name, content in take([upload] if upload else [], folder, 1):
                result = _judged(name, content, model, preset)
                if isinstance(result, Failure):
                    yield [gr.skip(), markup.failed(result), None]
                else:
                    yield [gr.skip(), markup.card(result, side, None), numbers(result)]
                    yield [gr.skip(), markup.card(result, side, draw_map(result, model, preset)), gr.skip()]
        finally:
            _forget(page, request)

    return dropped


def _side(number: int) -> tuple[gr.File, gr.HTML, gr.JSON]:
    name = markup.SIDES[number]
    with gr.Column(min_width=120):  # side by side on a phone too
        drop = gr.File(label=f"Photograph {name}", height=130, elem_id=f"drop-{name}")
        result = gr.HTML(elem_id=f"card-{name}", apply_default_css=False)
        own = gr.JSON(visible=False)
    return drop, result, own


def _judged(name: str, content: bytes | ImageError, model: Model, preset: Preset) -> Judgement | Failure:
    if isinstance(content, ImageError):
        return Failure(name, str(content))
    return judge(name, content, model, preset)


def _only(slot: int, html: str = "") -> list[Any]:
    """What changes one slot and leaves the others as they are."""
    return [html if number == slot else gr.skip() for number in range(MAX_PHOTOGRAPHS)]


def _event(progress: gr.HTML) -> dict[str, Any]:
    """What all events have in common."""
    return {
        "api_visibility": "private",
        "show_progress": "minimal",
        "show_progress_on": progress,
        # One at a time, whoever comes and whatever was dropped: judging keeps a computer busy. Who drops more
        # while it works waits like the others.
        "concurrency_id": "judge",
        "concurrency_limit": 1,
        "trigger_mode": "multiple",
    }


def _forget(page: gr.Blocks, request: gr.Request) -> None:
    """Drops what Gradio remembers of a visit: the values that were sent last, and the names of uploads."""
    visitor = request.session_hash or ""
    page.state_holder.session_data.pop(visitor, None)
    page.state_holder.time_last_used.pop(visitor, None)
    for names in page.temp_file_sets:
        names.clear()


def _forget_requests(page: gr.Blocks) -> None:
    """Empties each request when it is done: loops of Gradio's queue hold it until another comes."""
    process = page._queue.process_events

    async def process_and_forget(events: list[Any], *rest: Any) -> None:
        try:
            await process(events, *rest)
        finally:
            for event in events:
                event.data = event.request = None

    page._queue.process_events = process_and_forget  # type: ignore[method-assign, assignment]
