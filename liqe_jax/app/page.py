"""The page: two tabs of Gradio components and their event handlers.

Results are HTML with inline pictures, so Gradio does not write files for them. Gradio would keep the last
values and the last request of every visitor in memory; both are deleted when a request is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from liqe_jax.app import about, markup
from liqe_jax.app.compare import compare, numbers
from liqe_jax.app.photograph import ScoredPhotograph, draw_map, score_photograph
from liqe_jax.app.uploads import take
from liqe_jax.errors import ImageError
from liqe_jax.images.preprocess import Preset
from liqe_jax.scoring.model import Model
from liqe_jax.scoring.result import Failure

MAX_PHOTOGRAPHS = 20  # per drop
MAX_WAITING = 32  # visitors in the queue; later ones get a message


def build(model: Model, preset: Preset, folder: Path, max_megabytes: float) -> gr.Blocks:
    """Builds the page without launching it.

    Args:
      model: the model.
      preset: how crops are chosen.
      folder: the open folder of `upload_folder`.
      max_megabytes: size limit that the page states; the server enforces it.
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
        """Scores all photographs, then draws their maps, which is slower."""
        scored: list[tuple[int, ScoredPhotograph]] = []
        count = min(len(uploads or ()), MAX_PHOTOGRAPHS)
        too_many = f" Only the first {count} of {len(uploads)} are scored." if uploads and len(uploads) > count else ""
        try:
            # The drop zone is cleared, since its files are deleted soon.
            yield [None, markup.status(f"Scoring 1 of {count} ..."), *[""] * MAX_PHOTOGRAPHS]
            for slot, (name, content) in enumerate(take(uploads or (), folder, count)):
                result = _scored(name, content, model, preset)
                if isinstance(result, Failure):
                    html = markup.failed(result)
                else:
                    html = markup.row(result, len(scored), None)
                    scored.append((slot, result))
                doing = f"Scoring {slot + 2} of {count} ..." if slot + 1 < count else "Drawing maps ..."
                yield [gr.skip(), markup.status(doing + too_many), *_only(slot, html)]
            for place, (slot, one) in enumerate(scored):
                html = markup.row(one, place, draw_map(one, model, preset))
                yield [gr.skip(), gr.skip(), *_only(slot, html)]
            done = f"{len(scored)} scored, {count - len(scored)} failed.{too_many}"
            yield [gr.skip(), markup.status(done), *_only(-1)]
        finally:
            _forget(page, request)

    drop.upload(dropped, drop, [drop, status, *slots], preprocess=False, **_event(status))


def _compare(page: gr.Blocks, model: Model, preset: Preset, folder: Path) -> None:
    with gr.Row(equal_height=False):
        sides = [_side(number) for number in range(2)]
    difference = gr.HTML(elem_id="difference", apply_default_css=False)
    both = [own for _, _, own in sides]

    def compared(first: Any, second: Any, request: gr.Request) -> str:
        try:
            return compare((first, second), model.tasks)
        finally:
            _forget(page, request)

    for side, (drop, result, own) in enumerate(sides):
        dropped = _one_dropped(page, model, preset, folder, side)
        event = drop.upload(dropped, drop, [drop, result, own], preprocess=False, **_event(result))
        # The visitor's browser stores the numbers of both photographs and sends them back for the comparison.
        event.then(compared, both, difference, **_event(difference))


def _one_dropped(
    page: gr.Blocks, model: Model, preset: Preset, folder: Path, side: int
) -> Callable[[dict[str, Any] | None, gr.Request], Iterator[list[Any]]]:
    def dropped(upload: dict[str, Any] | None, request: gr.Request) -> Iterator[list[Any]]:
        try:
            yield [None, markup.status("Scoring ..."), None]
            for name, content in take([upload] if upload else [], folder, 1):
                result = _scored(name, content, model, preset)
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


def _scored(name: str, content: bytes | ImageError, model: Model, preset: Preset) -> ScoredPhotograph | Failure:
    if isinstance(content, ImageError):
        return Failure(name, str(content))
    return score_photograph(name, content, model, preset)


def _only(slot: int, html: str = "") -> list[Any]:
    """Output values that change one slot and skip the others."""
    return [html if number == slot else gr.skip() for number in range(MAX_PHOTOGRAPHS)]


def _event(progress: gr.HTML) -> dict[str, Any]:
    """The common settings of all events."""
    return {
        "api_visibility": "private",
        "show_progress": "minimal",
        "show_progress_on": progress,
        # One event at a time for all visitors, since scoring uses all cores; further drops wait in the queue.
        "concurrency_id": "score",
        "concurrency_limit": 1,
        "trigger_mode": "multiple",
    }


def _forget(page: gr.Blocks, request: gr.Request) -> None:
    """Deletes the data that Gradio keeps of a visit: the last values and the names of uploads."""
    visitor = request.session_hash or ""
    page.state_holder.session_data.pop(visitor, None)
    page.state_holder.time_last_used.pop(visitor, None)
    for names in page.temp_file_sets:
        names.clear()


def _forget_requests(page: gr.Blocks) -> None:
    """Empties each request when it is done; Gradio's queue would keep it until the next one."""
    process = page._queue.process_events

    async def process_and_forget(events: list[Any], *rest: Any) -> None:
        try:
            await process(events, *rest)
        finally:
            for event in events:
                event.data = event.request = None

    page._queue.process_events = process_and_forget  # type: ignore[method-assign, assignment]
