"""Writes state dicts that `torch.load(..., weights_only=True)` reads, without PyTorch.

The pickle opcodes are written one by one, since Python's pickler insists on importing the classes that it names.
"""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from typing import Union

import numpy as np

from liqe_jax.errors import ModelError
from liqe_jax.weights.torch_pickle import STORAGE_DTYPES

StateDict = Mapping[str, Union[np.ndarray, int, str, "StateDict"]]

_STORAGE_NAMES = {dtype: name for name, dtype in STORAGE_DTYPES.items()}


class _Writer:
    def __init__(self) -> None:
        self.opcodes = bytearray(pickle.PROTO + b"\x02")
        self.storages: list[np.ndarray] = []

    def name(self, module: str, name: str) -> None:
        self.opcodes += pickle.GLOBAL + f"{module}\n{name}\n".encode()

    def value(self, value: object) -> None:
        if isinstance(value, Mapping):
            self.opcodes += pickle.EMPTY_DICT + pickle.MARK
            for key, item in value.items():
                self.value(key)
                self.value(item)
            self.opcodes += pickle.SETITEMS
        elif isinstance(value, np.ndarray):
            self.tensor(value)
        elif isinstance(value, str):
            encoded = value.encode()
            self.opcodes += pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded
        elif isinstance(value, bool) or not isinstance(value, int):
            raise ModelError(f"A state dict holds arrays, strings and integers; got {type(value).__name__}.")
        else:
            encoded = pickle.encode_long(value)
            self.opcodes += pickle.LONG1 + bytes([len(encoded)]) + encoded

    def sequence(self, values: tuple) -> None:
        self.opcodes += pickle.MARK
        for value in values:
            self.value(value)
        self.opcodes += pickle.TUPLE

    def tensor(self, array: np.ndarray) -> None:
        if array.dtype not in _STORAGE_NAMES:
            raise ModelError(f"Cannot write {array.dtype} to a PyTorch file; convert it to float32 first.")
        strides = tuple(int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim))
        self.name("torch._utils", "_rebuild_tensor_v2")
        self.opcodes += pickle.MARK + pickle.MARK
        self.value("storage")
        self.name("torch", _STORAGE_NAMES[array.dtype])
        for value in (str(len(self.storages)), "cpu", array.size):
            self.value(value)
        self.opcodes += pickle.TUPLE + pickle.BINPERSID
        self.value(0)
        self.sequence(array.shape)
        self.sequence(strides)
        self.opcodes += pickle.NEWFALSE
        self.name("collections", "OrderedDict")
        self.opcodes += pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.TUPLE + pickle.REDUCE
        self.storages.append(array)


def write_torch(path: str | os.PathLike, content: StateDict) -> None:
    """Writes nested dictionaries as PyTorch's zip format; ModelError where they hold anything but `StateDict`s."""
    writer = _Writer()
    writer.value(content)
    writer.opcodes += pickle.STOP
    prefix = "archive"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{prefix}/data.pkl", bytes(writer.opcodes))
        archive.writestr(f"{prefix}/byteorder", "little")
        for key, array in enumerate(writer.storages):
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            archive.writestr(f"{prefix}/data/{key}", little.tobytes())
        archive.writestr(f"{prefix}/version", "3\n")
