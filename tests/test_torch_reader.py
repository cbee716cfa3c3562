"""The reader of PyTorch files: what torch.save writes comes back, and nothing in a file is ever called."""

from __future__ import annotations

import collections
import functools
import io
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from liqe_jax.errors import ModelError
from liqe_jax.weights.torch_reader import read_torch
from liqe_jax.weights.torch_writer import _Writer, write_torch

torch = pytest.importorskip("torch")

FORMS = {"zip": True, "legacy": False}


@pytest.fixture(params=FORMS)
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], Path]:
    """Writes with torch.save, in the zip format and in the older one."""

    def write(content: Any) -> Path:
        torch.save(content, tmp_path / "model.pt", _use_new_zipfile_serialization=FORMS[request.param])
        return tmp_path / "model.pt"

    return write


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's values, bit for bit, in a NumPy type."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:  # torch does not hand this type to NumPy
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def assert_same(got: object, tensor: torch.Tensor) -> None:
    want = as_numpy(tensor)
    assert isinstance(got, np.ndarray)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    assert got.tobytes() == want.tobytes()


def write_archive(path: Path, writer: _Writer, storages: list[bytes]) -> Path:
    """A zip with the writer's opcodes, whatever they say."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", bytes(writer.opcodes) + pickle.STOP)
        for key, storage in enumerate(storages):
            archive.writestr(f"archive/data/{key}", storage)
    return path


def write_tensor(path: Path, shape: tuple, stride: tuple, offset: int = 0, stored: int = 4) -> Path:
    """A zip whose only tensor claims to lie anywhere in a storage of `stored` floats."""
    writer = _Writer()
    writer.name("torch._utils", "_rebuild_tensor_v2")
    writer.opcodes += pickle.MARK + pickle.MARK
    writer.value("storage")
    writer.name("torch", "FloatStorage")
    for value in ("0", "cpu", stored):
        writer.value(value)
    writer.opcodes += pickle.TUPLE + pickle.BINPERSID
    writer.value(offset)
    writer.sequence(shape)
    writer.sequence(stride)
    writer.opcodes += pickle.NEWFALSE + pickle.NONE + pickle.TUPLE + pickle.REDUCE
    return write_archive(path, writer, [np.arange(stored, dtype=np.float32).tobytes()])


# What comes back


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool"])
def test_reads_every_type(save, dtype: str) -> None:
    tensor = (torch.arange(12).reshape(3, 4) % 5).to(getattr(torch, dtype))
    assert_same(read_torch(save({"a": tensor}))["a"], tensor)


@pytest.mark.parametrize(
    "view",
    [
        lambda base: base.t(),
        lambda base: base.permute(1, 0)[::2],
        lambda base: base[1:, 2:],
        lambda base: base[:, 3],
        lambda base: base[2, 4],
        lambda base: base[:0],
        lambda base: base[:1].expand(7, -1),
    ],
    ids=["transposed", "strided", "offset", "column", "scalar", "empty", "expanded"],
)
def test_reads_views(save, view: Callable) -> None:
    tensor = view(torch.arange(30, dtype=torch.float32).reshape(5, 6))
    assert_same(read_torch(save({"a": tensor}))["a"], tensor)


@pytest.mark.parametrize("tensor", [torch.tensor(4.6052), torch.empty(0), torch.empty(2, 0, 3)])
def test_reads_scalars_and_empty_tensors(save, tensor: torch.Tensor) -> None:
    assert_same(read_torch(save([tensor]))[0], tensor)


def test_tensors_that_share_a_storage_come_back_apart(save) -> None:
    base = torch.arange(10.0)
    got = read_torch(save({"all": base, "tail": base[6:], "again": base}))
    assert_same(got["all"], base)
    assert_same(got["tail"], base[6:])
    got["tail"][:] = -1
    assert_same(got["all"], base)


def test_reads_a_module_with_parameters_and_buffers(save) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    state = module.state_dict()  # an OrderedDict with the attribute _metadata
    got = read_torch(save(state))
    assert list(got) == list(state)
    for name, tensor in state.items():
        assert_same(got[name], tensor)


def test_reads_parameters_as_arrays(save) -> None:
    parameter = torch.nn.Parameter(torch.randn(2, 3))
    assert_same(read_torch(save(collections.OrderedDict(a=parameter)))["a"], parameter)


def test_reads_nested_containers(save) -> None:
    content = {
        "list": [1, 2.5, "three", None, True, [torch.ones(2)]],
        "tuple": (1, (2, torch.zeros(1)), ()),
        "size": torch.Size([3, 4]),
        "device": torch.device("cpu"),
        5: -(2**70),
        "bytes": b"\x00\xff",
        "text": "größer",
    }
    got = read_torch(save(content))
    assert got["list"][:5] == [1, 2.5, "three", None, True]
    assert_same(got["list"][5][0], torch.ones(2))
    assert got["tuple"][0] == 1
    assert got["tuple"][2] == ()
    assert_same(got["tuple"][1][1], torch.zeros(1))
    assert got["size"] == (3, 4)
    assert (got[5], got["bytes"], got["text"]) == (-(2**70), b"\x00\xff", "größer")


def test_a_container_that_occurs_twice_is_built_once(save) -> None:
    # Twenty levels of a pair of the same thing are 20 objects here and 2**20 in a naive copy; more are refused.
    content: Any = torch.ones(2)
    for _ in range(20):
        content = [content, content]
    got = read_torch(save(content))
    for _ in range(20):
        assert got[0] is got[1]
        got = got[0]
    assert_same(got, torch.ones(2))


def test_reads_a_training_checkpoint(save) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-6, weight_decay=1e-3)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    results = {"srcc": {"live": np.float64(0.5), "csiq": [np.float64(-0.25), np.float32(2)]}, "n": np.int64(-7)}
    content = {
        "epoch": 3,
        "model_state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "all_results": results,
        "done": np.bool_(True),
    }
    got = read_torch(save(content))
    assert got["epoch"] == 3
    assert got["all_results"] == {"srcc": {"live": 0.5, "csiq": [-0.25, 2.0]}, "n": -7}
    assert got["done"] is True
    for name, tensor in model.state_dict().items():
        assert_same(got["model_state_dict"][name], tensor)
    assert got["optimizer"]["param_groups"][0]["lr"] == 5e-6
    for number, state in optimizer.state_dict()["state"].items():
        for name, tensor in state.items():
            assert_same(got["optimizer"]["state"][number][name], tensor)


def test_reads_big_endian_files(tmp_path: Path) -> None:
    write_torch(tmp_path / "little.pt", {"a": np.arange(5, dtype=np.float32)})
    with zipfile.ZipFile(tmp_path / "little.pt") as source, zipfile.ZipFile(tmp_path / "big.pt", "w") as target:
        target.writestr("archive/data.pkl", source.read("archive/data.pkl"))
        target.writestr("archive/byteorder", "big")
        target.writestr("archive/data/0", np.arange(5, dtype=">f4").tobytes())
    np.testing.assert_array_equal(read_torch(tmp_path / "big.pt")["a"], np.arange(5, dtype=np.float32))


def test_torch_reads_what_the_writer_writes(tmp_path: Path) -> None:
    content = {
        "nested": {"float32": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)},
        "float16": np.float16([1.5, -2]),
        "bfloat16": np.asarray([1.5, -2], ml_dtypes.bfloat16),
        "int64": np.arange(3),
        "scalar": np.array(2.5, np.float32),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "number": -300,
        "text": "größer",
    }
    write_torch(tmp_path / "model.pt", content)
    got = torch.load(tmp_path / "model.pt", weights_only=True)
    again = read_torch(tmp_path / "model.pt")
    assert (got["number"], got["text"]) == (again["number"], again["text"]) == (-300, "größer")
    for name in ("float16", "bfloat16", "int64", "scalar", "transposed"):
        assert_same(content[name], got[name])
        assert_same(again[name], got[name])
    assert_same(again["nested"]["float32"], got["nested"]["float32"])


# What is refused


# Pickle protocol 2 writes Python 2's name.
BUILTINS = "(builtins|__builtin__)"


class Call:
    """Pickles as a call of any function: how malicious checkpoints run code."""

    def __init__(self, function: Callable, *arguments: object):
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


def attacks(target: str) -> dict[str, tuple[Any, str]]:
    """Content that creates the file `target` when an ordinary unpickler reads it; what the refusal names."""
    command = f"open({target!r}, 'w').close()"
    return {
        "system": (Call(os.system, f"touch {target}"), r"posix\.system"),
        "eval": (Call(eval, command), BUILTINS + r"\.eval"),
        "exec": (Call(exec, command), BUILTINS + r"\.exec"),
        "getattr": (Call(getattr, collections.OrderedDict, "fromkeys"), BUILTINS + r"\.getattr"),
        "partial": (Call(functools.partial(os.system, f"touch {target}")), r"functools\.partial"),
        "load_from_bytes": (
            Call(torch.storage._load_from_bytes, pickle.dumps(Call(os.system, f"touch {target}"))),
            r"torch\.storage\._load_from_bytes",
        ),
        "import": (Call(__import__, "antigravity"), BUILTINS + r"\.__import__"),
        "open": (Call(open, target, "w"), r"io\.open"),
    }


@pytest.mark.parametrize("kind", attacks(""))
def test_refuses_by_name_what_asks_to_call_something(save, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "touched"
    content, named = attacks(str(target))[kind]
    path = save({"state_dict": {"a": torch.ones(1)}, "b": content})
    with pytest.raises(ModelError, match=named) as caught:
        read_torch(path)
    assert str(path) in str(caught.value)
    assert not target.exists()


def test_the_attack_is_real(tmp_path: Path) -> None:
    # Otherwise the refusals above would prove nothing.
    target = tmp_path / "touched"
    pickle.loads(pickle.dumps(attacks(str(target))["system"][0]))
    assert target.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_refuses_bare_pickles_that_call(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "touched"
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Call(os.system, f"touch {target}"), protocol))
    with pytest.raises(ModelError, match=r"\.system"):
        read_torch(path)
    assert not target.exists()


@pytest.mark.parametrize("opcode", [pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.STACK_GLOBAL])
def test_refuses_calls_by_any_opcode(tmp_path: Path, opcode: bytes) -> None:
    target = tmp_path / "touched"
    name = b"posix\nsystem\n"
    text = f"touch {target}".encode()
    argument = pickle.BINUNICODE + struct.pack("<I", len(text)) + text
    program = {
        pickle.INST: pickle.MARK + argument + pickle.INST + name,
        pickle.OBJ: pickle.MARK + pickle.GLOBAL + name + argument + pickle.OBJ,
        pickle.NEWOBJ: pickle.GLOBAL + name + argument + pickle.TUPLE1 + pickle.NEWOBJ,
        pickle.STACK_GLOBAL: b"\x8c\x05posix\x8c\x06system" + pickle.STACK_GLOBAL + argument + b"\x85R",
    }[opcode]
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.PROTO + b"\x04" + program + pickle.STOP)
    with pytest.raises(ModelError, match=r"posix\.system"):
        read_torch(path)
    assert not target.exists()


@pytest.mark.parametrize("name", [b"collections\nOrderedDict\n", b"torch._utils\n_rebuild_tensor_v2\n"])
@pytest.mark.parametrize("attribute", [b"__defaults__", b"fromkeys", b"__doc__"])
def test_refuses_to_set_attributes_of_functions_and_classes(tmp_path: Path, name: bytes, attribute: bytes) -> None:
    # A pickle may set attributes of anything it names, which would outlive the reading.
    slots = pickle.EMPTY_DICT + b"\x8c" + bytes([len(attribute)]) + attribute + pickle.NONE + pickle.SETITEM
    program = pickle.GLOBAL + name + pickle.NONE + slots + pickle.TUPLE2 + pickle.BUILD
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.PROTO + b"\x04" + program + pickle.STOP)
    with pytest.raises(ModelError, match="sets attributes"):
        read_torch(path)


def test_refuses_to_change_the_shape_of_a_checked_tensor(tmp_path: Path) -> None:
    # The bounds hold when the tensor is built; changed afterwards, it would show foreign memory.
    writer = _Writer()
    writer.value(np.arange(4, dtype=np.float32))
    writer.opcodes += pickle.EMPTY_DICT
    writer.value("shape")
    writer.sequence((1000,))
    writer.opcodes += pickle.SETITEM + pickle.BUILD
    path = write_archive(tmp_path / "model.pt", writer, [writer.storages[0].tobytes()])
    with pytest.raises(ModelError, match="sets attributes"):
        read_torch(path)


@pytest.mark.parametrize(
    ("shape", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((4,), (2,), 0),
        ((2, 2), (4, 1), 0),
        ((4,), (1,), 1),
        ((), (), 4),
        ((2,), (1,), -1),
        ((2,), (-1,), 1),
        ((-1,), (1,), 0),
        ((2**62, 2**62), (1, 1), 0),
    ],
)
def test_refuses_tensors_that_exceed_their_storage(tmp_path: Path, shape: tuple, stride: tuple, offset: int) -> None:
    path = write_tensor(tmp_path / "model.pt", shape, stride, offset)
    with pytest.raises(ModelError, match="exceeds its storage of 4 elements"):
        read_torch(path)


def test_refuses_strides_that_do_not_fit_the_shape(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a readable PyTorch checkpoint"):
        read_torch(write_tensor(tmp_path / "model.pt", (2, 2), (1,)))


def test_refuses_tensors_that_repeat_a_number_without_end(tmp_path: Path) -> None:
    path = write_tensor(tmp_path / "model.pt", (2**20, 2**20), (0, 0))
    with pytest.raises(ModelError, match="repeats its storage"):
        read_torch(path)


def test_refuses_many_tensors_that_repeat_little(tmp_path: Path) -> None:
    # Each would be allowed; together they would make 1 GB of a few kilobytes.
    tensors = [torch.zeros(1).expand(1 << 21) for _ in range(60)]
    torch.save(tensors[:2], tmp_path / "few.pt")
    assert [array.shape for array in read_torch(tmp_path / "few.pt")] == [(1 << 21,)] * 2
    torch.save(tensors, tmp_path / "many.pt")
    assert (tmp_path / "many.pt").stat().st_size < 30_000
    with pytest.raises(ModelError, match="repeats its storage"):
        read_torch(tmp_path / "many.pt")


def test_refuses_many_tensors_of_one_storage(tmp_path: Path) -> None:
    base = torch.zeros(1 << 20)
    torch.save({str(n): base.view(1 << 20) for n in range(4)}, tmp_path / "tied.pt")
    assert len(read_torch(tmp_path / "tied.pt")) == 4
    torch.save({str(n): base.view(1 << 20) for n in range(40)}, tmp_path / "many.pt")
    with pytest.raises(ModelError, match="repeats its storage"):
        read_torch(tmp_path / "many.pt")


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", ["item", "items", "dict", "ordered", "set", "frozenset"])
def test_refuses_keys_that_take_for_ever_to_hash(tmp_path: Path, protocol: int, kind: str) -> None:
    # Each level holds the one below twice: 2 ** 60 steps for a hash, in 200 bytes.
    nested = b")" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(60))
    program = {
        "item": b"}" + nested + b"K\x01s",
        "items": b"}(" + nested + b"K\x01u",
        "dict": b"(" + nested + b"K\x01d",
        "ordered": b"ccollections\nOrderedDict\n" + nested + b"\x85R",
        "set": b"\x8f(" + nested + b"\x90",
        "frozenset": b"(" + nested + b"\x91",
    }[kind]
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.PROTO + bytes([protocol]) + program + pickle.STOP)
    with pytest.raises(ModelError, match=r"key of a dictionary|opcode that no checkpoint needs|Python 2"):
        read_torch(path)


def test_refuses_storages_shorter_than_they_say(tmp_path: Path) -> None:
    path = write_tensor(tmp_path / "model.pt", (4,), (1,))
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "short.pt", "w") as target:
        target.writestr("archive/data.pkl", source.read("archive/data.pkl"))
        target.writestr("archive/data/0", source.read("archive/data/0")[:8])
    with pytest.raises(ModelError, match="ends before the last tensor"):
        read_torch(tmp_path / "short.pt")


def test_refuses_archives_without_their_storages(tmp_path: Path) -> None:
    path = write_tensor(tmp_path / "model.pt", (4,), (1,))
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "short.pt", "w") as target:
        target.writestr("archive/data.pkl", source.read("archive/data.pkl"))
    with pytest.raises(ModelError, match=r"lacks archive/data/0: it is cut off"):
        read_torch(tmp_path / "short.pt")


def test_refuses_containers_that_contain_themselves(save) -> None:
    content: list = [torch.ones(1)]
    content.append(content)
    with pytest.raises(ModelError, match="contains itself"):
        read_torch(save(content))


def test_refuses_references_to_elsewhere(tmp_path: Path) -> None:
    writer = _Writer()
    writer.value("elsewhere")
    writer.opcodes += pickle.BINPERSID
    with pytest.raises(ModelError, match="outside itself"):
        read_torch(write_archive(tmp_path / "model.pt", writer, []))


def test_refuses_torchscript_and_says_how_to_convert(tmp_path: Path) -> None:
    # As torch.jit.save writes it, which itself is deprecated and warns.
    writer = _Writer()
    writer.name("__torch__.torch.nn.modules.linear", "Linear")
    writer.opcodes += pickle.EMPTY_TUPLE + pickle.NEWOBJ + pickle.EMPTY_DICT + pickle.BUILD
    path = write_archive(tmp_path / "model.pt", writer, [])
    with pytest.raises(ModelError, match=r"TorchScript archive.*torch\.jit\.load"):
        read_torch(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_refuses_what_torch_jit_saves(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), str(tmp_path / "model.pt"))
    with pytest.raises(ModelError, match="TorchScript archive"):
        read_torch(tmp_path / "model.pt")


def test_refuses_whole_modules(save) -> None:
    with pytest.raises(ModelError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_torch(save(torch.nn.Linear(2, 2)))


# What is corrupt


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable PyTorch checkpoint: it ends too early"),
        (b"hello, this is no checkpoint\n" * 20, "not a readable PyTorch checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "not a readable PyTorch checkpoint"),
        (b"<!DOCTYPE html><html></html>", "not a readable PyTorch checkpoint"),
        (pickle.dumps({"a": 1}, 2) * 2, "is a pickle but no PyTorch checkpoint"),
        (bytes(1000), "not a readable PyTorch checkpoint"),
    ],
    ids=["empty", "text", "lfs pointer", "web page", "pickle", "zeros"],
)
def test_refuses_what_is_no_checkpoint(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read_torch(path)
    assert str(path) in str(caught.value)


def test_refuses_other_zip_files(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no model")
    with pytest.raises(ModelError, match=r"0 members called data\.pkl"):
        read_torch(path)


def test_refuses_compressed_zip_files(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2) + bytes(10**6))
    with pytest.raises(ModelError, match="compressed zip file"):
        read_torch(path)


def test_refuses_missing_files_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pt", tmp_path):
        with pytest.raises(ModelError, match="Check the path"):
            read_torch(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_refuses_cut_files(save, kept: float) -> None:
    path = save({"a": torch.arange(1000.0), "b": torch.ones(500)})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ModelError, match="Download it again"):
        read_torch(path)


def test_refuses_zip_files_with_a_changed_byte_in_a_tensor(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": torch.arange(1000.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(np.arange(1000, dtype=np.float32).tobytes()) + 7] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="Bad CRC-32"):
        read_torch(path)


def test_damage_never_raises_anything_else_or_fills_the_memory(save, tmp_path: Path) -> None:
    # Seeded, so a failure repeats. Without CRC, legacy files reach further than zip files do.
    path = save({"model_state_dict": {"a": torch.ones(4, 5).t(), "b": torch.tensor(2.0)}, "x": [np.float64(3), None]})
    content = path.read_bytes()
    assert len(content) < 10_000
    rng = np.random.default_rng(0)
    outcomes: collections.Counter[str] = collections.Counter()
    messages: set[str] = set()
    tracemalloc.start()
    try:
        for _ in range(300):
            corrupt = bytearray(content)
            if rng.random() < 0.2:
                del corrupt[rng.integers(len(content)) :]
            else:
                corrupt[rng.integers(len(content))] ^= rng.integers(1, 256)
            path.write_bytes(corrupt)
            try:
                read_torch(path)
                outcomes["read"] += 1
            except ModelError as error:
                outcomes["refused"] += 1
                messages.add(str(error))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20
    assert min(map(len, messages)) > 40
    assert outcomes["refused"] > 50
    assert sum(outcomes.values()) == 300


def test_damage_inside_the_pickle_is_refused_too(tmp_path: Path) -> None:
    # Zip's checksum would find most faults early; so the archive is made around corrupt pickles.
    buffer = io.BytesIO()
    torch.save({"state_dict": {"a": torch.ones(4, 5), "b": torch.ones(3)}, "x": [np.float64(3)]}, buffer)
    with zipfile.ZipFile(buffer) as source:
        members = {name: source.read(name) for name in source.namelist()}
    (name,) = (name for name in members if name.endswith("data.pkl"))
    rng = np.random.default_rng(1)
    messages: set[str] = set()
    tracemalloc.start()
    try:
        for _ in range(300):
            program = bytearray(members[name])
            program[rng.integers(len(program))] ^= rng.integers(1, 256)
            with zipfile.ZipFile(tmp_path / "model.pt", "w") as target:
                for member, data in (members | {name: bytes(program)}).items():
                    target.writestr(member, data)
            try:
                read_torch(tmp_path / "model.pt")
            except ModelError as error:
                messages.add(str(error))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20
    assert min(map(len, messages)) > 40


def doubled(writer: _Writer, levels: int) -> None:
    """Appends a tuple of a tuple twice, and so on: a few bytes for each level, twice as many values."""
    writer.opcodes += pickle.EMPTY_TUPLE
    for _ in range(levels):
        writer.opcodes += pickle.DUP + pickle.TUPLE2


def as_content(writer: _Writer) -> None:
    doubled(writer, 200)


def as_storage_key(writer: _Writer) -> None:
    writer.opcodes += pickle.MARK
    writer.value("storage")
    writer.name("torch", "FloatStorage")
    doubled(writer, 200)
    writer.value("cpu")
    writer.value(4)
    writer.opcodes += pickle.TUPLE + pickle.BINPERSID


def as_reference(writer: _Writer) -> None:
    doubled(writer, 200)
    writer.opcodes += pickle.BINPERSID


def as_storage_type(writer: _Writer) -> None:
    writer.opcodes += pickle.MARK
    writer.value("storage")
    doubled(writer, 200)
    for value in ("0", "cpu", 4):
        writer.value(value)
    writer.opcodes += pickle.TUPLE + pickle.BINPERSID


def as_codec(writer: _Writer) -> None:
    writer.name("_codecs", "encode")
    writer.value("text")
    doubled(writer, 200)
    writer.opcodes += pickle.TUPLE2 + pickle.REDUCE


def as_a_part_of_a_list(writer: _Writer) -> None:
    writer.opcodes += pickle.EMPTY_LIST
    doubled(writer, 90)
    writer.opcodes += pickle.APPEND


def as_deep_lists(writer: _Writer) -> None:
    writer.opcodes += pickle.EMPTY_LIST * 100_000 + pickle.APPEND * 99_999


def as_a_huge_integer(writer: _Writer) -> None:
    writer.opcodes += pickle.LONG4 + struct.pack("<i", 4000) + b"\x01" * 4000


EXPONENTIAL = [as_content, as_storage_key, as_reference, as_storage_type, as_codec, as_a_part_of_a_list, as_deep_lists]


@pytest.mark.parametrize("write", [*EXPONENTIAL, as_a_huge_integer])
def test_a_small_file_takes_little_time(write, tmp_path):
    """In a process of its own: hashing or printing such tuples cannot even be interrupted."""
    writer = _Writer()
    write(writer)
    path = write_archive(tmp_path / "model.pt", writer, [bytes(16)])
    code = "import sys; from liqe_jax.weights.torch_reader import read_torch; read_torch(sys.argv[1])"
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("liqe_jax.errors.ModelError:")
    assert len(last) < 1000
