"""The part of PyTorch's pickles that may be trusted: an unpickler that builds tensors and plain containers alone.

Unpickling calls whatever the pickle names. Here names are resolved from a fixed list of this file's own functions; any
other name is refused before anything is called. What decides this is all in this file, for review.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar

import ml_dtypes
import numpy as np

from liqe_jax.errors import ModelError
from liqe_jax.messages import printable, quoted

# Class of a storage in `torch` -> type of its elements.
STORAGE_DTYPES: Mapping[str, np.dtype] = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}

# Tensors may share a storage, as tied weights do, and one that torch.Tensor.expand made repeats its own; a corrupt
# file would fill the memory so. How often all of a storage may come, and how many elements beyond that in a whole file.
_MOST_SHARED, _MOST_REPEATED = 4, 1 << 22

# What a dictionary's key may be. Tuples within tuples take twice as long to hash with every level.
_KEYS = (str, int, float, bytes, type(None))


@dataclasses.dataclass(frozen=True)
class _StorageType:
    """Stands for torch.FloatStorage and its kind; not callable, so a pickle can only name it."""

    dtype: np.dtype


class Storages(dict[str, "Storage"]):
    """Those of a file, by name; `repeats` is how many elements it may still make out of nothing."""

    repeats = _MOST_REPEATED


class Storage:
    """A flat buffer. Older files name a storage before its bytes come, so `data` is set late."""

    def __init__(self, dtype: np.dtype, length: int, of_file: Storages, data: np.ndarray | None = None):
        self.dtype, self.length, self.data = dtype, length, data
        self._unused, self._of_file = _MOST_SHARED * length, of_file

    def use(self, elements: int) -> bool:
        """Takes so many elements for a tensor; False where a file makes too much of little."""
        own = min(elements, max(self._unused, 0))
        self._unused -= own
        self._of_file.repeats -= elements - own
        return self._of_file.repeats >= 0


class Tensor:
    """A view of a storage; becomes an array once the storages are read."""

    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]):
        if not isinstance(storage, Storage):
            raise ModelError("The checkpoint builds a tensor from something that is not a storage; it is corrupt.")
        shape, stride = tuple(map(int, shape)), tuple(map(int, stride))
        # as_strided reads whatever it is told to, so the bounds have to hold.
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True) if size)
        if offset < 0 or min((*shape, *stride), default=0) < 0 or (0 not in shape and last >= storage.length):
            raise ModelError(
                f"A tensor of shape {printable(shape)}, strides {printable(stride)} and offset {quoted(offset)} "
                f"exceeds its storage of {storage.length} elements: the file is corrupt. Download it again."
            )
        if not storage.use(math.prod(shape)):
            raise ModelError(
                f"A tensor of shape {printable(shape)} repeats its storage of {storage.length} elements, as others may "
                "have before; it is corrupt, or was expanded: save it again with torch after .contiguous()."
            )
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    def array(self) -> np.ndarray:
        data = self.storage.data
        if data is None or len(data) < self.storage.length:
            raise ModelError("The file ends before the last tensor. Download it again.")
        if 0 in self.shape:
            return np.empty(self.shape, self.storage.dtype)
        steps = tuple(step * data.itemsize for step in self.stride)
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, steps).copy()


def _rebuild_tensor(storage: Storage, offset: int, shape: tuple, stride: tuple, *_: object) -> Tensor:
    return Tensor(storage, offset, shape, stride)


class _Dtype:
    """Builds a NumPy dtype from its letter code, without NumPy's own unpickling."""

    code: str

    def __new__(cls, code: str, *_: object) -> Any:
        if not (isinstance(code, str) and len(code) == 2 and code[0] in "fiub" and code[1] in "1248"):
            raise ModelError(f"The checkpoint holds a NumPy type {quoted(code)}; expected a plain number type.")
        self = super().__new__(cls)
        self.code = code
        return self

    def restore(self, state: tuple) -> None:
        """Takes the byte order from what NumPy calls a dtype's state."""
        order = state[1]
        self.code = (order if order in ("<", ">") else "=") + self.code


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    # Protocol 2 has no opcode for bytes; Python writes them as a call of _codecs.encode.
    if encoding != "latin1" or not isinstance(text, str):
        raise ModelError(f"The checkpoint asks for the codec {quoted(encoding)}; expected latin1.")
    return text.encode("latin1")


def _scalar(dtype: _Dtype, raw: bytes) -> object:
    if not isinstance(dtype, _Dtype) or len(raw) != np.dtype(dtype.code).itemsize:
        raise ModelError("The checkpoint holds a NumPy number that is corrupt or no number.")
    return np.frombuffer(raw, dtype.code)[0].item()


def _ordered_dict(*arguments: Any) -> collections.OrderedDict:
    if arguments:  # Python 2 puts its items here; they would be hashed unseen
        raise ModelError("The checkpoint was written by Python 2. Load and save it again with a newer torch.")
    return collections.OrderedDict()


_ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("collections", "defaultdict"): lambda *_: {},
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch", "Size"): tuple,
    ("torch", "device"): lambda *_: None,
    ("_codecs", "encode"): _latin1,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class Unpickler(pickle._Unpickler):
    """Python's own unpickler, with names from the list above and nothing set on what they built.

    The faster twin in C lets a pickle set attributes of any object, a checked tensor's shape for one, and reserves
    memory for as many memoised objects as a corrupt byte says.
    `load_storage` takes a reference to a storage; None refuses references.
    """

    stack: list[Any]

    def __init__(self, file: BinaryIO, load_storage: Callable[[tuple], Storage] | None, path: str):
        super().__init__(file, encoding="utf-8")
        self._load_storage, self._path = load_storage, path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module in ("torch", "torch.storage") and name in STORAGE_DTYPES:
            return _StorageType(STORAGE_DTYPES[name])
        asked = printable(f"{module}.{name}")
        if module.startswith("__torch__"):
            raise ModelError(
                f"{self._path} is a TorchScript archive (it names {asked}), not a state dict. Convert it with "
                "torch: torch.save(torch.jit.load(path).state_dict(), new_path)."
            )
        raise ModelError(
            f"{self._path} asks to call {asked}. This reader rebuilds tensors, numbers and plain containers "
            "and nothing else, so the file is refused. If you trust it, save its state dict again with torch."
        )

    def persistent_load(self, reference: Any) -> Storage:
        if self._load_storage is None or not isinstance(reference, tuple) or reference[:1] != ("storage",):
            raise ModelError(f"{self._path} refers to something outside itself ({quoted(reference)}); it is refused.")
        return self._load_storage(reference)

    def load_build(self) -> None:
        state = self.stack.pop()
        built = self.stack[-1]
        if isinstance(built, _Dtype):
            built.restore(state)
        elif not isinstance(built, collections.OrderedDict):  # a module's state dict has `_metadata`, unused here
            raise ModelError(f"{self._path} sets attributes of a {type(built).__name__}; it is refused.")

    def _check_keys(self, items: list[Any]) -> None:
        """Of (key, value, key, value, ...)."""
        for key in items[::2]:
            if not isinstance(key, _KEYS):
                raise ModelError(f"{self._path} has a {type(key).__name__} for the key of a dictionary; it is refused.")

    def load_setitem(self) -> None:
        self._check_keys(self.stack[-2:])
        super().load_setitem()  # type: ignore[misc]

    def load_setitems(self) -> None:
        self._check_keys(self.stack)  # everything since the last mark
        super().load_setitems()  # type: ignore[misc]

    def load_dict(self) -> None:
        self._check_keys(self.stack)
        super().load_dict()  # type: ignore[misc]

    def load_refused(self) -> None:
        raise ModelError(f"{self._path} holds an opcode that no checkpoint needs; it is refused.")

    # Extensions are whatever the process has registered; a bytearray reserves the memory that it is told to; sets hash
    # what is in them; and Python does not print integers of the size that LONG4 is for.
    _EXTENSIONS, _SETS = pickle.EXT1 + pickle.EXT2 + pickle.EXT4, pickle.EMPTY_SET + pickle.ADDITEMS + pickle.FROZENSET
    _REFUSED = _EXTENSIONS + _SETS + pickle.BYTEARRAY8 + pickle.LONG4
    dispatch: ClassVar[dict] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        **dict.fromkeys(_REFUSED, load_refused),
    }


def storage_dtype(kind: Any) -> np.dtype:
    """The type of a storage's elements."""
    if not isinstance(kind, _StorageType):
        raise ModelError(f"A storage has the unknown type {quoted(kind)}; expected one of {', '.join(STORAGE_DTYPES)}.")
    return kind.dtype


def checked_key(key: object) -> str:
    """The name of a storage; hashing nested tuples instead would take time exponential in their depth."""
    if not isinstance(key, str):
        raise ModelError(f"A storage is called {quoted(key)}; torch calls it by a string. The file is corrupt.")
    return key
