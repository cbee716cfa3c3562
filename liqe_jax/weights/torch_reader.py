"""Reads PyTorch checkpoints without PyTorch and without running what is in them.

A `.pt` file is a pickle beside raw storages. Unpickling calls whatever the pickle names, so
this reader resolves names from a fixed list of its own functions, which build arrays and
plain containers; any other name is refused before anything is called. Both the zip format
(torch 1.6 and later) and the older stream of pickles are read.

The file has more than 300 lines so that everything that decides what a pickle may do is in one place for review.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar, Literal

import ml_dtypes
import numpy as np

from liqe_jax.bounded_io import open_regular
from liqe_jax.errors import ModelError
from liqe_jax.messages import printable, quoted

_STORAGE_DTYPES: Mapping[str, np.dtype] = {
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

# torch.serialization: the first pickle of a file in the older format (torch/serialization.py,
# MAGIC_NUMBER and PROTOCOL_VERSION).
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

# Tensors may share a storage, as tied weights do, and one that torch.Tensor.expand made repeats its own; a damaged
# file would fill the memory so. How often all of a storage may come, and how many elements beyond that in a whole file.
_MOST_SHARED, _MOST_REPEATED = 4, 1 << 22

# A checkpoint nests its containers in fewer than ten levels, and holds some thousand values besides tensors' elements.
_MOST_LEVELS, _MOST_VALUES = 100, 10_000_000

# What a dictionary's key may be. Tuples within tuples take twice as long to hash with every level.
_KEYS = (str, int, float, bytes, type(None))


@dataclasses.dataclass(frozen=True)
class _StorageType:
    """Stands for torch.FloatStorage and its kind; not callable, so a pickle can only name it."""

    dtype: np.dtype


class _Repeats:
    """How many elements a file may still make out of nothing."""

    def __init__(self) -> None:
        self.left = _MOST_REPEATED


class _Storage:
    """A flat buffer. Older files name a storage before its bytes come, so `data` is set late."""

    def __init__(self, dtype: np.dtype, length: int, repeats: _Repeats, data: np.ndarray | None = None):
        self.dtype, self.length, self.data = dtype, length, data
        self._unused, self._repeats = _MOST_SHARED * length, repeats

    def use(self, elements: int) -> bool:
        """Takes so many elements for a tensor; False where a file makes too much of little."""
        own = min(elements, max(self._unused, 0))
        self._unused -= own
        self._repeats.left -= elements - own
        return self._repeats.left >= 0


class _Tensor:
    """A view of a storage; becomes an array once the storages are read."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]):
        if not isinstance(storage, _Storage):
            raise ModelError("The checkpoint builds a tensor from something that is no storage; it is damaged.")
        shape, stride = tuple(map(int, shape)), tuple(map(int, stride))
        # as_strided reads whatever it is told to, so the bounds have to hold.
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True) if size)
        if offset < 0 or min((*shape, *stride), default=0) < 0 or (0 not in shape and last >= storage.length):
            raise ModelError(
                f"A tensor of shape {printable(shape)}, strides {printable(stride)} and offset {quoted(offset)} "
                f"exceeds its storage of {storage.length} elements: the file is damaged. Download it again."
            )
        if not storage.use(math.prod(shape)):
            raise ModelError(
                f"A tensor of shape {printable(shape)} repeats its storage of {storage.length} elements, as others may "
                "have before; it is damaged, or was expanded: save it again with torch after .contiguous()."
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


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple, stride: tuple, *_: object) -> _Tensor:
    return _Tensor(storage, offset, shape, stride)


def _rebuild_parameter(tensor: _Tensor, *_: object) -> _Tensor:
    return tensor


def _number_from_bytes(dtype: np.dtype, raw: bytes) -> object:
    if not isinstance(dtype, np.dtype) or dtype.hasobject or len(raw) != dtype.itemsize:
        raise ModelError("The checkpoint holds a NumPy number that is damaged or no number.")
    return np.frombuffer(raw, dtype)[0].item()


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
    return _number_from_bytes(np.dtype(dtype.code) if isinstance(dtype, _Dtype) else dtype, raw)


def _ordered_dict(*arguments: Any) -> collections.OrderedDict:
    if arguments:  # Python 2 puts its items here; they would be hashed unseen
        raise ModelError("The checkpoint was written by Python 2. Load and save it again with a newer torch.")
    return collections.OrderedDict()


_ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("collections", "defaultdict"): lambda *_: {},
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    ("torch", "device"): lambda *_: None,
    ("_codecs", "encode"): _latin1,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler, with names from the list above and nothing set on what they built.

    Its faster twin in C lets a pickle set attributes of any object, a checked tensor's shape
    for one, and reserves memory for as many memoised objects as a damaged byte says.
    """

    stack: list[Any]

    def __init__(self, file: BinaryIO, load_storage: Callable[[tuple], _Storage] | None, path: str):
        super().__init__(file, encoding="utf-8")
        self._load_storage, self._path = load_storage, path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module in ("torch", "torch.storage") and name in _STORAGE_DTYPES:
            return _StorageType(_STORAGE_DTYPES[name])
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

    def persistent_load(self, reference: Any) -> _Storage:
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
    _REFUSED = b"".join(
        (
            pickle.EXT1,
            pickle.EXT2,
            pickle.EXT4,
            pickle.BYTEARRAY8,
            pickle.EMPTY_SET,
            pickle.ADDITEMS,
            pickle.FROZENSET,
            pickle.LONG4,
        )
    )
    dispatch: ClassVar[dict] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        **dict.fromkeys(_REFUSED, load_refused),
    }


def _unpickle(file: BinaryIO, load_storage: Callable[[tuple], _Storage] | None, path: str) -> Any:
    try:
        return _Unpickler(file, load_storage, path).load()
    except ModelError:
        raise
    except Exception as error:  # damaged pickles raise all sorts of things
        reason = printable(error) or "it ends too early"
        raise ModelError(
            f"{path} is not a readable PyTorch checkpoint: {printable(reason)}. Download it again."
        ) from error


def _storage_dtype(kind: Any) -> np.dtype:
    if not isinstance(kind, _StorageType):
        raise ModelError(
            f"A storage has the unknown type {quoted(kind)}; expected one of {', '.join(_STORAGE_DTYPES)}."
        )
    return kind.dtype


def _checked_key(key: object) -> str:
    """The name of a storage; hashing nested tuples instead would take time exponential in their depth."""
    if not isinstance(key, str):
        raise ModelError(f"A storage is called {quoted(key)}; torch calls it by a string. The file is damaged.")
    return key


class _Resolver:
    """Replaces tensors by arrays throughout nested containers, each once, however often it occurs.

    A part that occurs twice in a part that occurs twice, and so on, makes of a few hundred bytes more values than
    anything could print, compare or hash; so they are counted as often as they occur.
    """

    def __init__(self) -> None:
        # id of a part -> its replacement and the number of values in it; None where that is under way.
        self._done: dict[int, tuple[Any, int] | None] = {}

    def __call__(self, value: Any, depth: int = 0) -> tuple[Any, int]:
        """The replacement, and how many values it holds.

        Args:
          value: from `_unpickle`; stays alive meanwhile, so that its parts' ids are theirs.
          depth: containers around it.
        """
        if isinstance(value, _Tensor):
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
            raise ModelError("The checkpoint holds a container that contains itself; it is damaged.")
        return found


def _resolve(value: Any) -> Any:
    return _Resolver()(value)[0]


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
    storages: dict[str, _Storage] = {}
    repeats = _Repeats()

    def load_storage(reference: tuple) -> _Storage:
        _, kind, key, _, length = reference
        if _checked_key(key) not in storages:
            dtype = _storage_dtype(kind)
            member = f"{prefix}data/{key}"
            if member not in names:
                raise ModelError(f"{path} lacks {member}: it is cut off. Download it again.")
            stored = dtype.newbyteorder(">") if big_endian else dtype
            data = np.frombuffer(content(member), stored).astype(dtype, copy=False)
            storages[key] = _Storage(dtype, int(length), repeats, data)
        return storages[key]

    return _resolve(_unpickle(io.BytesIO(content(pickles[0])), load_storage, path))


def _read_legacy(file: BinaryIO, path: str) -> Any:
    magic = _unpickle(file, None, path)
    protocol = _unpickle(file, None, path)
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL:
        raise ModelError(f"{path} is a pickle but no PyTorch checkpoint. Expected a file written by torch.save.")
    system = _unpickle(file, None, path)
    order: Literal["<", ">"] = "<" if system.get("little_endian", True) else ">"
    storages: dict[str, _Storage] = {}
    repeats = _Repeats()

    def load_storage(reference: tuple) -> _Storage:
        _, kind, key, _, length = reference[:5]
        if len(reference) > 5 and reference[5] is not None:
            raise ModelError(f"{path} holds storage views of a very old torch; save it again with torch 1.6 or newer.")
        return storages.setdefault(_checked_key(key), _Storage(_storage_dtype(kind), int(length), repeats))

    content = _unpickle(file, load_storage, path)
    for key in _unpickle(file, None, path):
        if _checked_key(key) not in storages:
            raise ModelError(f"{path} lists a storage {quoted(key)} that no tensor uses. It is damaged.")
        storage = storages[key]
        (length,) = struct.unpack("<q", file.read(8).ljust(8, b"\0"))
        size = storage.length * storage.dtype.itemsize
        raw = file.read(max(size, 0))
        if length != storage.length or len(raw) != size:
            raise ModelError(f"{path} ends in the middle of a tensor. Download it again.")
        storage.data = np.frombuffer(raw, storage.dtype.newbyteorder(order)).astype(storage.dtype, copy=False)
    return _resolve(content)


class _Bounded(io.BufferedReader):
    """Python reserves as many bytes as it is asked to read, and damaged files ask for gigabytes."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(size)


def read_torch(path: str | os.PathLike) -> Any:
    """Reads what `torch.save` wrote: nested containers, with tensors as NumPy arrays.

    Raises:
      ModelError: the file is missing, cut, damaged, no checkpoint, or asks to call anything
        that does not merely rebuild data.
    """
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
        raise ModelError(f"{name} is a damaged zip file ({error}). Download it again.") from error
    except ModelError:
        raise
    except Exception as error:  # damaged files raise all sorts of things
        raise ModelError(
            f"{name} is not a readable PyTorch checkpoint: {printable(repr(error))}. Download it again."
        ) from error
