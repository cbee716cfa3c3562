"""A folder with a page of scored photographs that works from the disk: `liqe score --gallery`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from liqe_jax.app.document import about, document
from liqe_jax.app.photograph import PICTURE_SIDE, THUMBNAIL_SIDE, card, draw_map, webp
from liqe_jax.errors import LiqeError, UsageError
from liqe_jax.images.decode import decode
from liqe_jax.images.preprocess import Preset
from liqe_jax.scoring.model import Model

PAGE = "index.html"


def check_folder(path: str, overwrite: bool) -> None:
    """Raises UsageError if a folder has other content or cannot be read."""
    try:
        content = set(os.listdir(path)) if os.path.lexists(path) else set()
    except OSError as error:
        raise UsageError(f"Cannot write to {path}: {error.strerror or error}. Expected a folder.") from error
    if content and not (overwrite and PAGE in content):
        raise UsageError(f"{path} is not empty. Give another folder, or --overwrite to replace the gallery in it.")


def write_gallery(folder: Path, rows: Sequence[dict[str, Any]], model: Model, preset: Preset, quiet: bool) -> Path:
    """Writes thumbnails, pictures and maps, and then the page that shows them, whose path is returned.

    Rows are those of `Score.to_dict` or `Failure.to_dict`, in the order of the page; model and preset are those that
    draw the maps. The folder is made. Raises UsageError if it cannot be written.
    """
    cards = []
    try:
        for kind in ("thumbs", "pictures", "maps"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        hidden = quiet or not sys.stderr.isatty()
        for number, row in enumerate(tqdm(rows, desc="gallery", unit="image", disable=hidden, leave=False), start=1):
            shown = card(row, model.tasks)
            cards.append(_with_pictures(shown, row["image"], f"{number:06d}.webp", folder, model, preset))
        title, scripts = f"{len(rows)} photographs", ("photographs.js", "gallery.js")
        body = f"<header><h1>{title}</h1>{about(model, preset.name)}</header><main id=photographs></main>"
        text, policy = document(f"{title} - LIQE", body, scripts, {"cards": cards})
        policy = policy.replace("img-src data: blob:", "img-src 'self' file: data:").replace("connect-src 'self'; ", "")
        text = text.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{policy}">', 1)
        (folder / PAGE).write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"Cannot write to {folder}: {error.strerror or error}.") from error
    return folder / PAGE


def _with_pictures(
    shown: dict[str, Any], image: str, file: str, folder: Path, model: Model, preset: Preset
) -> dict[str, Any]:
    if "error" in shown:
        return shown
    shown["original"] = Path(image).absolute().as_uri()
    try:
        decoded = decode(image, preset.decode_options(allow_truncated=True))
    except LiqeError as error:
        return {**shown, "warnings": [*shown["warnings"], f"no picture: {error}"]}
    for kind, side in (("thumbs", THUMBNAIL_SIDE), ("pictures", PICTURE_SIDE)):
        (folder / kind / file).write_bytes(webp(decoded.pixels, side))
    shown |= {"thumb": f"thumbs/{file}", "picture": f"pictures/{file}"}
    if model.tasks.has_quality:
        try:
            drawn, levels = draw_map(decoded, model, preset)
        except LiqeError as error:
            return {**shown, "no_map": str(error)}
        (folder / "maps" / file).write_bytes(drawn)
        shown |= {"map": f"maps/{file}", "levels": levels}
    return shown
