"""Files of any content: every reader gives an error of ours or a result, within 5 s and 1 GB.

Twenty seconds in all, or as long as LIQE_FUZZ_SECONDS says; the same examples every time, and
more of them with more time.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from liqe_jax.weights.write import write_model

SECONDS = float(os.environ.get("LIQE_FUZZ_SECONDS") or 20)
PATIENCE = 5.0  # seconds for one file
WORKER = Path(__file__).with_name("fuzz_worker.py")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory is bounded by Linux's means")


class Worker:
    """The process that reads; another one after it was ended."""

    def __init__(self, model_folder: Path, scratch: Path):
        self._command = [sys.executable, str(WORKER), str(model_folder), str(scratch)]
        self._process: subprocess.Popen | None = None

    def read(self, target: str, name: str, content: bytes) -> dict[str, str]:
        """What comes of a file of this name and content."""
        if self._process is None:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XLA_FLAGS": ""}
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
            first = self._ask("image", "first.jpg", b"", 120)  # importing takes longer than any file may
            assert first["outcome"] == "ours", f"the worker does not start: {first['error']}"
        return self._ask(target, name, content, PATIENCE)

    def _ask(self, target: str, name: str, content: bytes, seconds: float) -> dict[str, str]:
        process = self._process
        process.stdin.write(f"{target} {name} {len(content)}\n".encode() + content)
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        answer = process.stdout.readline() if ready else b""
        if not answer:
            self.close()
            return {"outcome": "other", "error": "it ended the process" if ready else f"it takes over {seconds} s"}
        return json.loads(answer)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = None


@pytest.fixture(scope="module")
def worker(model_folder, tmp_path_factory) -> Iterator[Worker]:
    """One process for all tests."""
    started = Worker(model_folder, tmp_path_factory.mktemp("fuzz"))
    yield started
    started.close()


def fuzz(worker: Worker, target: str, names: st.SearchStrategy[str], contents: st.SearchStrategy[bytes]) -> None:
    """Examples for this test's share of the time, from seeds 0, 1, 2, ...; fails with the first bad one.

    All of the first seed's are tried, however busy the machine is.
    """
    end = time.monotonic() + SECONDS / len(TESTS)
    outcomes: dict[str, int] = {}
    failed = False

    def one(name: str, content: bytes) -> None:
        nonlocal failed
        if number > 0 and time.monotonic() > end and not failed:
            return
        found = worker.read(target, name, content)
        outcomes[found["outcome"]] = outcomes.get(found["outcome"], 0) + 1
        failed = failed or found["outcome"] == "other"
        assert found["outcome"] != "other", f"{name} of {len(content)} bytes: {found['error']}"

    for number in itertools.count():
        settings = hypothesis.settings(
            max_examples=50,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],  # an example that takes five seconds would take an hour to shrink
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        hypothesis.seed(number)(settings(hypothesis.given(names, contents)(one)))()
        if time.monotonic() > end:
            break
    assert outcomes.get("ours"), "no example was refused: the test reads nothing"


NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)
PIECES = [struct.pack("<Q", number)[:size] for number in NUMBERS for size in (1, 2, 4, 8)]


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of the seeds with bits turned, numbers written over, parts cut, repeated and inserted."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        # Headers are short and come first.
        place = place % 512 if draw(st.booleans()) else place
        what = draw(st.sampled_from(["bit", "piece", "cut", "drop", "repeat", "insert"]))
        length = draw(st.integers(1, 64))
        if what == "bit" and place < len(content):
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif what == "piece":
            piece = draw(st.sampled_from(PIECES))
            content[place : place + len(piece)] = piece
        elif what == "cut":
            del content[place:]
        elif what == "drop":
            del content[place : place + length]
        elif what == "repeat":
            content[place:place] = content[place : place + length] * draw(st.sampled_from([1, 2, 1000]))
        elif what == "insert":
            content[place:place] = draw(st.binary(max_size=32))
    return bytes(content)


def images() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    picture = Image.fromarray(pixels)
    seeds = []
    forms = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "JPEG2000", "PPM", "DIB", "TGA")
    for form, options in [
        *((form, {}) for form in forms),
        ("JPEG", {"progressive": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("PNG", {"pnginfo": None}),
        ("GIF", {"save_all": True, "append_images": [picture.rotate(90)]}),
    ]:
        buffer = io.BytesIO()
        picture.save(buffer, form, **options)
        seeds.append(buffer.getvalue())
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        buffer = io.BytesIO()
        picture.convert("L" if mode == "I;16" else mode).convert(mode).save(buffer, "PNG")
        seeds.append(buffer.getvalue())
    return seeds


def test_images(worker):
    fuzz(worker, "image", st.just("x.jpg"), mutated(images()) | st.binary(max_size=300))


@st.composite
def pickles(draw: st.DrawFn) -> bytes:
    """Opcodes in any order, with arguments that some of them understand."""
    names = [b"torch\nFloatStorage\n", b"torch._utils\n_rebuild_tensor_v2\n", b"collections\nOrderedDict\n"]
    names += [b"torch\nSize\n", b"_codecs\nencode\n", b"numpy\ndtype\n", b"numpy.core.multiarray\nscalar\n"]
    opcode = st.one_of(
        st.sampled_from([bytes([code]) for code in range(256)]),
        st.sampled_from([pickle.DUP + pickle.TUPLE2, pickle.DUP + pickle.TUPLE2 * 2, pickle.MARK, pickle.REDUCE]),
        st.sampled_from(names).map(lambda name: pickle.GLOBAL + name),
        st.sampled_from(["storage", "0", "cpu", "x" * 255]).map(
            lambda text: pickle.SHORT_BINUNICODE + bytes([len(text)]) + text.encode()
        ),
        st.sampled_from(PIECES[2::4]).map(lambda piece: pickle.BININT + piece),
        st.integers(0, 255).map(lambda place: pickle.BINGET + bytes([place])),
    )
    return pickle.PROTO + b"\x02" + b"".join(draw(st.lists(opcode, max_size=60))) + pickle.STOP


def as_zip(content: bytes) -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", bytes(64))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def weight_files(checkpoint, tmp_path_factory) -> dict[str, list[bytes]]:
    """Suffix -> weight files of the tiny model, their arrays cut off, since a reader's mistakes are in the headers."""
    folder = tmp_path_factory.mktemp("seeds")
    files: dict[str, list[bytes]] = {".pt": [], ".safetensors": [], ".msgpack": []}
    write_model(folder / "m.pt", checkpoint, "openai-pt")
    write_model(folder / "m.safetensors", checkpoint, "openai-safetensors")
    write_model(folder / "flax", checkpoint, "hf-flax")
    for path in (folder / "m.pt", folder / "m.safetensors", folder / "flax" / "flax_model.msgpack"):
        files[path.suffix].append(path.read_bytes()[: 1 << 17])
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    files[".safetensors"].append(struct.pack("<Q", len(header)) + header + bytes(16))
    return files


def legacy() -> bytes:
    parts = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({"little_endian": True}, 2)]
    return b"".join(parts)


def test_weights(worker, weight_files):
    contents = {suffix: mutated(seeds) | st.binary(max_size=100) for suffix, seeds in weight_files.items()}
    contents[".pt"] |= pickles() | pickles().map(as_zip) | pickles().map(lambda content: legacy() + content)
    pairs = st.sampled_from(sorted(contents)).flatmap(lambda suffix: st.tuples(st.just(suffix), contents[suffix]))
    # Names and contents belong together, so that both come from one draw.
    fuzz_pairs(worker, "weights", pairs.map(lambda pair: (f"m{pair[0]}", pair[1])))


def fuzz_pairs(worker: Worker, target: str, pairs: st.SearchStrategy[tuple[str, bytes]]) -> None:
    """As `fuzz`, for contents that depend on the name."""
    shared = st.shared(pairs, key=target)
    fuzz(worker, target, shared.map(lambda pair: pair[0]), shared.map(lambda pair: pair[1]))


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
KEYS = ["format", "name", "version", "sha256", "tasks", "provenance", "attributes", "labels", "image", "mos", "quality"]
KEYS += [
    "error",
    "model",
    "vision_config",
    "text_config",
    "hidden_size",
    "num_hidden_layers",
    "patch_size",
    "image_size",
]
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=30,
)
NESTED = st.tuples(st.sampled_from(["[", '{"a":', "[[1],"]), st.sampled_from([10, 900, 1100, 200_000])).map(
    lambda pair: pair[0] * pair[1]
)


def replaced(draw: st.DrawFn, value: object) -> object:
    """A JSON value of which one part, somewhere in it, is another."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: replaced(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], replaced(draw, value[place]), *value[place + 1 :]]
    return draw(JSON)


@st.composite
def other_json(draw: st.DrawFn, whole: object) -> bytes:
    return json.dumps(replaced(draw, whole)).encode("utf-8", "surrogatepass")


def test_files_of_a_model_folder(worker, model_folder):
    names = ["config.json", "liqe.json", "merges.txt", "text_features.safetensors"]
    wholes = {name: (model_folder / name).read_bytes() for name in names}

    def of(name: str) -> st.SearchStrategy[tuple[str, bytes]]:
        contents = mutated([wholes[name]]) | NESTED.map(str.encode)
        if name.endswith(".json"):
            contents |= other_json(json.loads(wholes[name]))
        return st.tuples(st.just(name), contents)

    fuzz_pairs(worker, "model_folder", st.sampled_from(names).flatmap(of))


CELLS = st.sampled_from(
    ["image", "mos", "MOS", "quality", "score", "name", "a.jpg", "b.jpg", "3.5", "nan", "1e999", ""]
)
CELLS |= st.text(max_size=6) | st.sampled_from(['"', "x" * 140_000, "9" * 5000, "\0", "\x1b[2J", "ü"])


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    separator = draw(st.sampled_from([",", ",", ",", ";", "\t"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    rows = draw(st.lists(st.lists(CELLS, max_size=4), max_size=6))
    header = draw(st.sampled_from([["image", "mos"], ["image", "quality"], ["image_name", "MOS"], []]))
    text = end.join(separator.join(row) for row in ([header] if header else []) + rows)
    mark = draw(st.sampled_from(["", "", "\ufeff"]))
    return (mark + text).encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-16"])), "surrogatepass")


def test_csv(worker):
    labels = b"I01.png\t3.5\tgaussian blur\tanimal\tinvalid\tinvalid\n"
    seeds = [b"image,mos\na.jpg,3.5\nb.jpg,4\n", b"image,quality,error\na.jpg,3.5,\nb.jpg,,broken\n", labels]
    fuzz(worker, "csv", st.just("t.csv"), tables() | mutated(seeds) | st.binary(max_size=200))


ROW = {
    "image": "a.jpg",
    "quality": 3.5,
    "quality_probs": {"bad": 1.0},
    "model": "m",
    "preprocess": "paper",
    "digest": "0",
}
PREDICTIONS = [
    {"format": "liqe_jax predictions 1", "dataset": "x", "labels": {"quality": ["bad", "good"]}, "model": {}},
    {"image": "a", "mos": 3.0, "quality": 3.5, "distortion": "blur", "scenes": ["animal"], "parts": {"1": "train"}}
    | {"probabilities": {"quality": [0.5, 0.5]}},
]


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    whole = draw(st.sampled_from([[ROW, {"image": "b.jpg", "error": "broken"}], PREDICTIONS]))
    rows = [replaced(draw, row) if draw(st.booleans()) else row for row in whole]
    texts = [json.dumps(row) for row in rows] + draw(st.lists(NESTED, max_size=1))
    return "\n".join(texts).encode("utf-8", "surrogatepass") + draw(st.sampled_from([b"", b"\n", b"\xff"]))


def test_jsonl(worker):
    seeds = [b"\n".join(json.dumps(row).encode() for row in rows) + b"\n" for rows in ([ROW, ROW], PREDICTIONS)]
    fuzz(
        worker,
        "jsonl",
        st.just("t.jsonl"),
        lines() | mutated(seeds) | JSON.map(lambda value: json.dumps(value).encode()),
    )


TESTS = (test_images, test_weights, test_files_of_a_model_folder, test_csv, test_jsonl)
