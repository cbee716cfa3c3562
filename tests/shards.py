"""Shards that the tests of liqe_jax.scale read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(seed: int, kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    """A small random image that differs by its seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    image = Image.fromarray(coarse).resize((72, 56), Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def raw_member(name: str, content: bytes, size: int | None = None, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The blocks of a tar's member; its header may tell another size than that of the content."""
    header = tarfile.TarInfo(name)
    header.type = kind
    header.size = len(content) if size is None else size
    return header.tobuf() + content + bytes(-len(content) % 512)


def tar_bytes(members: Iterable[tuple[str, bytes]]) -> bytes:
    """An uncompressed tar."""
    return b"".join(raw_member(*member) for member in members) + bytes(1024)


def samples(first: int, count: int) -> list[tuple[str, bytes]]:
    """Members as WebDataset has them: KEY.jpg and KEY.json."""
    members = []
    for number in range(first, first + count):
        members += [(f"{number:06d}.jpg", encoded(number)), (f"{number:06d}.json", b'{"caption": "a picture"}')]
    return members


def write_tars(folder: Path, count: int, images: int) -> list[Path]:
    """`count` tars of `images` images each, with keys that differ."""
    paths = [folder / f"{number:05d}.tar" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(tar_bytes(samples(number * images, images)))
    return paths
