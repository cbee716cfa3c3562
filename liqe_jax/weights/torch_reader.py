"""Reads PyTorch checkpoints without PyTorch and without running what is in them.

A `.pt` file is a pickle beside raw storages: a zip file (torch 1.6 and later), or in older versions a stream of
pickles. `torch_pickle` says what a pickle may do.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Literal

import numpy as np

from liqe_jax.bounded_io import open_regular
from liqe_jax.errors import ModelError
from liqe_jax.messages import printable, quoted
from liqe_jax.weights.torch_pickle import Storage, Storages, Tensor, Unpickler, checked_key, storage_dtype

# torch.serialization: the first pickle of a file in the older format (torch/serialization.py,
# MAGIC_NUMBER and PROTOCOL_VERSION).
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

# A checkpoint nests its containers in fewer than ten levels, and holds some thousand values besides tensors' elements.
_MOST_LEVELS, _MOST_VALUES = 100, 10_000_000


class _Resolver:
    """Replaces tensors by arrays throughout nested containers, each once; values count as often as they occur."""

    def __init__(self) -> None:
        # id of a part -> its replacement and the number of values in it; None where that is under way.
        self._done: dict[int, tuple[Any, int] | None] = {}

    def __call__(self, value: Any, depth: int = 0) -> tuple[Any, int]:
        """The replacement of a value within `depth` containers, and how many values it holds."""
        if isinstance(value, Tensor):
            if id(value) not in self._done:
                self._done[id(value)] = value.array(), 1
        elif not isinstance(value, (Mapping, list, tuple)):
            return value, 1
        elif id(value) not in self._done:
            if depth > _MOST_LEVELS:
                raise ModelError(f"The checkpoint nests containers in more than {_MOST_LEVELS} levels; it is refused.")
            self._done[id(value)] = None
            items = value.values() if isinstance(value, Mapping) else value
            parts = [self(item, depth + 1) for item in items]
            replaced = [part for part, _ in parts]
            count = 1 + sum(count for _, count in parts)
            if count > _MOST_VALUES:
                raise ModelError(f"The checkpoint repeats its parts to more than {_MOST_VALUES} values; it is refused.")
            whole = dict(zip(value, replaced, strict=True)) if isinstance(value, Mapping) else type(value)(replaced)
            self._done[id(value)] = whole, count
        found = self._done[id(value)]
        if found is None:
            raise ModelError("The checkpoint holds a container that contains itself; it is corrupt.")
        return found


def _read_zip(archive: zipfile.ZipFile, path: str) -> Any:
    names = archive.namelist()
    pickles = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
    if len(pickles) != 1:
        raise ModelError(
            f"{path} is a zip file with {len(pickles)} members called data.pkl; a PyTorch checkpoint has one."
        )

    def content(member: str) -> bytes:
        # torch.save compresses nothing; a few compressed bytes could unpack to more than the memory holds.
        if archive.getinfo(member).compress_type != zipfile.ZIP_STORED:
            raise ModelError(f"{path} is a compressed zip file, which torch.save never writes. Save it again.")
        return archive.read(member)

    prefix = pickles[0][: -len("data.pkl")]
    big_endian = prefix + "byteorder" in names and content(prefix + "byteorder").strip() == b"big"
    storages = Storages()

    def load_storage(reference: tuple) -> Storage:
        _, kind, key, _, length = reference
        if checked_key(key) not in storages:
            dtype = storage_dtype(kind)
            member = f"{prefix}data/{key}"
            if member not in names:
                raise ModelError(f"{path} lacks {member}: it is cut off. Download it again.")
            stored = dtype.newbyteorder(">") if big_endian else dtype
            data = np.frombuffer(content(member), stored).astype(dtype, copy=False)
            storages[key] = Storage(dtype, int(length), storages, data)
        return storages[key]

    return _Resolver()(Unpickler(io.BytesIO(content(pickles[0])), load_storage, path).load())[0]


def _read_legacy(file: BinaryIO, path: str) -> Any:
    def unpickle(load_storage: Callable[[tuple], Storage] | None = None) -> Any:
        return Unpickler(file, load_storage, path).load()

    if unpickle() != _LEGACY_MAGIC or unpickle() != _LEGACY_PROTOCOL:
        raise ModelError(f"{path} is a pickle but no PyTorch checkpoint. Expected a file written by torch.save.")
    system = unpickle()
    order: Literal["<", ">"] = "<" if system.get("little_endian", True) else ">"
    storages = Storages()

    def load_storage(reference: tuple) -> Storage:
        _, kind, key, _, length = reference[:5]
        if len(reference) > 5 and reference[5] is not None:
            raise ModelError(f"{path} holds storage views of a very old torch; save it again with torch 1.6 or newer.")
        return storages.setdefault(checked_key(key), Storage(storage_dtype(kind), int(length), storages))

    content = unpickle(load_storage)
    for key in unpickle():
        if checked_key(key) not in storages:
            raise ModelError(f"{path} lists a storage {quoted(key)} that no tensor uses. It is corrupt.")
        storage = storages[key]
        (length,) = struct.unpack("<q", file.read(8).ljust(8, b"\0"))
        size = storage.length * storage.dtype.itemsize
        raw = file.read(max(size, 0))
        if length != storage.length or len(raw) != size:
            raise ModelError(f"{path} ends in the middle of a tensor. Download it again.")
        storage.data = np.frombuffer(raw, storage.dtype.newbyteorder(order)).astype(storage.dtype, copy=False)
    return _Resolver()(content)[0]


class _Bounded(io.BufferedReader):
    """Python reserves as many bytes as it is asked to read, and corrupt files ask for gigabytes."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(size)


def read_torch(path: str | os.PathLike) -> Any:
    """What `torch.save` wrote, with NumPy arrays; ModelError for files that are corrupt or do more than hold data."""
    name = os.fspath(path)
    try:
        with _Bounded(open_regular(path).detach()) as file:
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    return _read_zip(archive, name)
            file.seek(0)
            if file.read(4) == b"PK\3\4":
                raise ModelError(f"{name} is a zip file without its end: it is cut off. Download it again.")
            file.seek(0)
            return _read_legacy(file, name)
    except OSError as error:
        raise ModelError(f"Cannot read {name}: {error.strerror or error}. Check the path.") from error
    except zipfile.BadZipFile as error:
        raise ModelError(f"{name} is a corrupt zip file ({error}). Download it again.") from error
    except ModelError:
        raise
    except Exception as error:  # corrupt files raise all sorts of things
        reason = "it ends too early" if isinstance(error, EOFError) else printable(repr(error))
        raise ModelError(f"{name} is not a readable PyTorch checkpoint: {reason}. Download it again.") from error
