"""Reads a model from a file or folder, in any format. Never touches the network."""

from __future__ import annotations

import collections
import concurrent.futures
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.serialization import msgpack_restore
from flax.traverse_util import flatten_dict

from liqe_jax.bounded_io import open_regular
from liqe_jax.encoders.base import Encoder
from liqe_jax.encoders.find import encoder_class, recognise, signatures
from liqe_jax.errors import ModelError
from liqe_jax.messages import printable, quoted
from liqe_jax.weights.checkpoint import Checkpoint, check_against_encoder, read_config
from liqe_jax.weights.exported import SUFFIX, read_exported
from liqe_jax.weights.files import check_stated, read_json, read_safetensors, sha256_of_file
from liqe_jax.weights.layouts import listing, to_flax
from liqe_jax.weights.native import MANIFEST, read_native
from liqe_jax.weights.provenance import Provenance
from liqe_jax.weights.torch_reader import read_torch

# A Hugging Face folder's weights, best first: safetensors cannot be ambiguous.
HUGGING_FACE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "flax_model.msgpack", "pytorch_model.bin")

# Where training code puts the state dict: the reference's checkpoints, pyiqa, common habit.
_WRAPPERS = ("model_state_dict", "params", "state_dict")

# First bytes of a map (msgpack specification: fixmap, map 16, map 32).
_MSGPACK_MAPS = (*range(0x80, 0x90), 0xDE, 0xDF)

# pyiqa keeps the CLIP model in an attribute; DataParallel and DDP in another.
_PREFIXES = ("clip_model.", "module.")


def read_model(path: str | os.PathLike, encoder: type[Encoder] | str | None = None) -> Checkpoint:
    """Reads a model folder or weight file.

    Folders: our own format, or a Hugging Face folder of a known encoder. Files: `.pt`, `.pth`, `.bin`
    (OpenAI's or Hugging Face's names, bare or wrapped), `.safetensors` (either), `.msgpack` (Flax) and `.stablehlo`
    (`liqe_jax.export`). A `config.json` beside a weight file is used where it describes the same kind of encoder;
    otherwise the architecture is read off the shapes. `encoder` is the class, or its import path, of an encoder that
    is not part of this package. ModelError: something is missing or corrupt, or the encoder is unknown.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"No model at {path}. Give a model folder, a weight file, or a known name.")
    if path.is_dir():
        if (path / MANIFEST).exists():
            return read_native(path, encoder)
        for name in HUGGING_FACE_WEIGHTS:
            if (path / name).exists():
                return _read_file(path / name, path.resolve().name, True, encoder)
        names = sorted(entry.name for entry in path.iterdir())
        raise ModelError(
            f"{path} holds no weights. Expected {MANIFEST} (a liqe_jax model) or config.json with one of "
            f"{', '.join(HUGGING_FACE_WEIGHTS)}; found {listing(names, 10) if names else 'an empty folder'}."
        )
    if path.suffix == SUFFIX:
        return read_exported(path)
    return _read_file(path, path.resolve().stem, False, encoder)


def _read_file(path: Path, name: str, in_model_folder: bool, own: type[Encoder] | str | None) -> Checkpoint:
    one_file = not path.name.endswith(".index.json")
    # Both take a second for the 600 MB of LIQE.pt, and neither needs the interpreter for most of it.
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        digest = beside.submit(sha256_of_file, path) if one_file else None
        try:
            state, notes = _unwrap(read_arrays(path), path)
        finally:  # after an error too: a wrong digest says more than its consequences
            sha256 = digest.result() if digest else ""
            check_stated(path, sha256)
    dtypes = collections.Counter(str(array.dtype) for array in state.values())
    kind, layout = (encoder_class(own), None) if own is not None else _recognised(state, path)
    stated = _config_beside(path, in_model_folder, kind)
    flat = to_flax(state, kind, layout, str(path))
    try:
        encoder = stated or kind.from_weights(flat)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{path} has arrays of shapes or names that no {kind.name} has ({error!r}).") from error
    check_against_encoder(flat, encoder, str(path))
    provenance = Provenance(name, path.name, sha256, notes=notes)
    tokenizer = kind.tokenizer_from(path.parent) if stated else None
    return Checkpoint(
        flat, encoder, provenance, tokenizer=tokenizer, source_dtypes=dict(dtypes), preprocess=kind.preprocess
    )


def _recognised(state: Mapping[str, np.ndarray], path: Path) -> tuple[type[Encoder], str]:
    found = recognise(state, stated_type(path))
    if found is None:
        examples = ", ".join(list(state)[:5]) or "nothing"
        raise ModelError(
            f"{path} holds no model that liqe_jax knows: none of {', '.join(signatures())} is among its {len(state)} "
            f"arrays ({examples}, ...). CLIP needs a vision transformer; name an encoder of your own (encoder=...)."
        )
    return found


def read_arrays(path: Path) -> Mapping[str, Any]:
    """Names and arrays of a weight file in any format, as they are; ModelError where it cannot be read."""
    if path.name.endswith(".index.json"):
        shards = shard_names(path)
        for shard in shards:
            check_stated(path.parent / shard)
        return {name: array for shard in shards for name, array in read_arrays(path.parent / shard).items()}
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    if path.suffix == ".msgpack":
        return _read_msgpack(path)
    content = read_torch(path)
    if not isinstance(content, Mapping):
        raise ModelError(f"{path} holds a {type(content).__name__}; expected a state dict, name -> tensor.")
    return content


def shard_names(index: Path) -> list[str]:
    """The files beside an index that hold its arrays; ModelError where it is corrupt or names files elsewhere."""
    places = read_json(index).get("weight_map")
    names = list(places.values()) if isinstance(places, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ModelError(f"{index} does not say which files beside it hold the weights. Download the folder again.")
    return sorted(set(names))


def _read_msgpack(path: Path) -> dict[str, np.ndarray]:
    try:
        with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            # Of anything else than a map, msgpack copies what follows into its error: gigabytes of a sparse file.
            if mapped[0] not in _MSGPACK_MAPS:
                raise ValueError(f"it begins with {bytes(mapped[:8])!r}, which is not a map")
            tree = msgpack_restore(mapped)  # type: ignore[arg-type]  # takes any buffer
        # A scalar such as logit_scale comes back as a NumPy number.
        return {name: np.asarray(leaf) for name, leaf in flatten_dict(tree.get("params", tree), sep="/").items()}
    except Exception as error:  # a corrupt stream raises all sorts of things
        raise ModelError(f"{path} cannot be read as Flax msgpack ({printable(error)}). Download it again.") from error


def _config_beside(path: Path, in_model_folder: bool, kind: type[Encoder]) -> Encoder | None:
    """What `config.json` beside a weight file says; beside a single file it may describe anything, and is ignored."""
    config, content = path.parent / "config.json", _readable_config(path.parent)
    unnamed = {"vision_config", "text_config"} <= content.keys()  # early CLIP checkpoints do not name their type
    describes = content.get("model_type", kind.name if unnamed else None) == kind.name
    return read_config(config, kind) if config.exists() and (in_model_folder or describes) else None


def stated_type(path: Path) -> str | None:
    """What `config.json` in a model folder, or beside a weight file, calls its model, if it is there and readable."""
    return _readable_config(path if path.is_dir() else path.parent).get("model_type")


def _readable_config(folder: Path) -> dict[str, Any]:
    """What `config.json` says; nothing where it cannot be read."""
    try:
        return read_json(folder / "config.json")
    except ModelError:
        return {}


def _unwrap(content: Mapping[str, Any], path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The state dict inside a checkpoint, without prefixes, and a note of what was around it."""
    notes: list[str] = []
    for key in _WRAPPERS:
        if isinstance(content.get(key), Mapping):
            beside = sorted(printable(name) for name in content if name != key)
            if beside:
                notes.append(f"read from {key!r} of a training checkpoint; left out: {', '.join(beside)}")
            if isinstance(content.get("epoch"), int):
                notes.append(f"epoch {quoted(content['epoch'])}")
            content = content[key]
            break
    arrays = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, np.ndarray)}
    others = [f"{printable(name)} ({type(value).__name__})" for name, value in content.items() if name not in arrays]
    if others:
        raise ModelError(
            f"{path} holds things that are not tensors where a state dict was expected: {listing(others, 6)}. "
            f"Expected names to tensors, or one of {', '.join(_WRAPPERS)}."
        )
    for prefix in _PREFIXES:
        if arrays and all(name.startswith(prefix) for name in arrays):
            arrays = {name[len(prefix) :]: array for name, array in arrays.items()}
    return arrays, tuple(notes)
