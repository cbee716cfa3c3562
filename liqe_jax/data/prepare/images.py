"""Decodes every image once, downscales it like the reference, and caches the result for the next run."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from liqe_jax.bounded_io import parse_json, read_bytes, read_text
from liqe_jax.errors import DataError, ImageError
from liqe_jax.images.decode import DecodeOptions, decode, memory_errors_are_of_the_image
from liqe_jax.images.preprocess import resize_short_side
from liqe_jax.messages import reason_of

# Formats that pipelines decode, and the modes in which every decoder agrees on the colours.
KEPT_FORMATS = frozenset({"JPEG", "MPO", "PNG", "BMP"})
KEPT_MODES = frozenset({"RGB", "L"})

# Measured on a 1024x768 photograph: the default, 6, takes four times as long for files 10% smaller.
PNG_LEVEL = 3

# Larger images are always re-encoded: Pillow warns of them by a limit that is global to the process.
LARGEST_KEPT = 50_000_000

KEPT, RESIZED, CONVERTED, MADE = "kept", "resized", "converted", "made"


class Recipe(NamedTuple):
    """How an image is created from a file; the key distinguishes images that are created from the same file."""

    key: str
    make: Callable[[], UInt8[np.ndarray, "H W 3"]]


@dataclasses.dataclass(frozen=True)
class PreparedImage:
    """An image as it will be stored; sizes in pixels."""

    path: str  # the original, or a PNG in the cache
    change: str  # KEPT, RESIZED (downscaled), CONVERTED (of a format or mode that not every decoder reads) or MADE
    width: int
    height: int
    sha256: str  # of the encoded image, hexadecimal


class Cache:
    """Results of earlier runs, keyed by an original's path, size and time of change.

    The file has one line of JSON for each image, appended as soon as the image is done.
    """

    def __init__(self, folder: Path):
        """Reads the results in `folder`, which is created if necessary; raises DataError if it cannot be."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"Cannot write to {folder}: {error.strerror}. Choose another --data-dir.") from error
        self.folder = folder
        self._journal = folder / "journal.jsonl"
        self._lock = threading.Lock()
        self._known: dict[str, PreparedImage] = {}
        if self._journal.exists():
            for line in read_text(self._journal, errors="replace").splitlines():
                # After a truncated line, that image is prepared again.
                with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                    entry = parse_json(line)
                    key = entry.pop("key")
                    self._known[key] = PreparedImage(**entry)
            # New lines must not be joined to a truncated one.
            with self._journal.open("a", encoding="utf-8") as journal:
                journal.write("\n")

    def get(self, key: str) -> PreparedImage | None:
        """An earlier result, if its file still exists."""
        known = self._known.get(key)
        return known if known and os.path.exists(known.path) else None

    def put(self, key: str, image: PreparedImage) -> None:
        """Remembers a result."""
        line = json.dumps({"key": key, **dataclasses.asdict(image)})
        with self._lock:
            self._known[key] = image
            with self._journal.open("a", encoding="utf-8") as journal:
                journal.write(line + "\n")


@memory_errors_are_of_the_image()
def prepare_image(path: Path, cache: Cache, recipe: Recipe | None = None) -> tuple[PreparedImage, bool]:
    """Decodes or creates one image, and downscales and re-encodes it if necessary; says whether it was in the cache.

    Raises:
      ImageError: the file cannot be read or decoded, or is truncated.
    """
    try:
        status = path.stat()
        key = f"{path}|{status.st_size}|{status.st_mtime_ns}" + (f"|{recipe.key}" if recipe else "")
        if known := cache.get(key):
            return known, True
        encoded = b"" if recipe else read_bytes(path)
    except (OSError, ValueError) as error:
        raise ImageError(f"Cannot read the file: {reason_of(error)}.") from error
    # As the reference opens images: no EXIF rotation, the alpha channel dropped.
    pixels = recipe.make() if recipe else decode(encoded, DecodeOptions()).pixels
    resized = resize_short_side(pixels)
    if not recipe and resized is pixels and _is_kept(encoded, pixels.shape[0] * pixels.shape[1]):
        stored, target, change = encoded, path, KEPT
    else:
        buffer = io.BytesIO()
        Image.fromarray(resized).save(buffer, "PNG", compress_level=PNG_LEVEL)
        stored, change = buffer.getvalue(), MADE if recipe else CONVERTED if resized is pixels else RESIZED
        target = cache.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.png"
        partial = target.with_suffix(".partial")
        partial.write_bytes(stored)
        partial.replace(target)
    height, width = resized.shape[:2]
    image = PreparedImage(str(target), change, width, height, hashlib.sha256(stored).hexdigest())
    cache.put(key, image)
    return image, False


def _is_kept(encoded: bytes, pixel_count: int) -> bool:
    if pixel_count > LARGEST_KEPT:
        return False
    with Image.open(io.BytesIO(encoded)) as image:
        return image.format in KEPT_FORMATS and image.mode in KEPT_MODES


def prepare_images(
    paths: Sequence[Path],
    cache: Cache,
    workers: int | None,
    progress: Callable[[int], None],
    recipes: Sequence[Recipe | None],
) -> list[tuple[PreparedImage, bool] | ImageError]:
    """Runs `prepare_image` in threads, each of which calls `progress`(1); errors are returned in place of results."""

    def one(path: Path, recipe: Recipe | None) -> tuple[PreparedImage, bool] | ImageError:
        try:
            return prepare_image(path, cache, recipe)
        except ImageError as error:
            return error
        finally:
            progress(1)

    executor = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        return list(executor.map(one, paths, recipes))
    finally:  # after an interruption, do not start the remaining images
        executor.shutdown(cancel_futures=True)
