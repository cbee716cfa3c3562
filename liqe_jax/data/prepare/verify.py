"""`liqe data verify` as a function."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

from tqdm import tqdm

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.reading.prepared import find_prepared, load_set, read_labels_json
from liqe_jax.errors import ImageError, LiqeError
from liqe_jax.images.decode import DecodeOptions, decode


@dataclasses.dataclass(frozen=True)
class Verified:
    """Result of `verify`: the number of images, and name -> fault of corrupt ones."""

    count: int
    faults: dict[str, str]


def verify(name: str, data_dir: str | os.PathLike, quiet: bool = False) -> Verified:
    """Reads and decodes every image of a prepared set and compares its hash and size.

    Raises:
      DataError: the set does not exist, or its records cannot be opened.
    """
    prepared = load_set(name, data_dir)
    content = read_labels_json(find_prepared(name, Path(data_dir)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checked = pool.map(_fault, repeat(prepared), range(len(prepared)), content["sha256"], content["sizes"])
        bar = tqdm(checked, desc=prepared.name, total=len(prepared), unit="image", disable=quiet or None)
        faults = {image: fault for image, fault in zip(prepared.names, bar, strict=True) if fault}
    return Verified(len(prepared), faults)


def _fault(prepared: LabelledSet, position: int, sha256: str, size: Sequence[int]) -> str:
    try:
        (encoded,) = prepared.read([position])
    except LiqeError as error:
        return str(error)
    if hashlib.sha256(encoded).hexdigest() != sha256:
        return "the bytes differ from those that were stored"
    try:
        height, width = decode(encoded, DecodeOptions()).pixels.shape[:2]
    except ImageError as error:
        return str(error)
    return "" if [width, height] == size else f"decodes to {width}x{height}, stored as {size[0]}x{size[1]}"
