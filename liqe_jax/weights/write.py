"""Writes a model in the formats that PyTorch, transformers and Flax users load."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import ml_dtypes
import numpy as np
from flax.serialization import msgpack_serialize
from flax.traverse_util import unflatten_dict
from safetensors import SafetensorError

from liqe_jax.errors import ModelError, UsageError
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.files import write_json, write_safetensors
from liqe_jax.weights.layouts import Flat, cast, from_flax
from liqe_jax.weights.native import write_native
from liqe_jax.weights.torch_writer import write_torch

DTYPES = MappingProxyType(
    {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
)


def rounded(checkpoint_flat: Flat, dtype: str) -> Flat:
    """Float32 arrays that hold what survives storage as `dtype`.

    Raises:
      UsageError: an unknown type.
      ModelError: a value overflows it.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")
    return cast(cast(checkpoint_flat, dtype), "float32")


def _stored(checkpoint: Checkpoint, layout: str, dtype: str) -> Flat:
    return from_flax(cast(checkpoint.flat, dtype), type(checkpoint.encoder), layout)


def _openai_pt(path: Path, checkpoint: Checkpoint, dtype: str) -> None:
    write_torch(path, _stored(checkpoint, "openai", dtype))


def _pyiqa_pt(path: Path, checkpoint: Checkpoint, dtype: str) -> None:
    state = {f"clip_model.{name}": array for name, array in _stored(checkpoint, "openai", dtype).items()}
    write_torch(path, {"params": state})


def _checkpoint_pt(path: Path, checkpoint: Checkpoint, dtype: str) -> None:
    write_torch(path, {"model_state_dict": _stored(checkpoint, "openai", dtype)})


def _openai_safetensors(path: Path, checkpoint: Checkpoint, dtype: str) -> None:
    write_safetensors(path, _stored(checkpoint, "openai", dtype), {"format": "pt"})


def _hugging_face_folder(path: Path, checkpoint: Checkpoint, write_weights: Callable[[Path], object]) -> None:
    path.mkdir(parents=True)
    write_weights(path)
    write_json(path / "config.json", checkpoint.encoder.to_config())
    (checkpoint.tokenizer or checkpoint.encoder.tokenizer_class.default()).save(path)


def _hf_safetensors(path: Path, checkpoint: Checkpoint, dtype: str) -> None:
    state = _stored(checkpoint, "hugging_face", dtype)
    _hugging_face_folder(
        path, checkpoint, lambda folder: write_safetensors(folder / "model.safetensors", state, {"format": "pt"})
    )


def _hf_pytorch(path: Path, checkpoint: Checkpoint, dtype: str) -> None:
    state = _stored(checkpoint, "hugging_face", dtype)
    _hugging_face_folder(path, checkpoint, lambda folder: write_torch(folder / "pytorch_model.bin", state))


def _hf_flax(path: Path, checkpoint: Checkpoint, dtype: str) -> None:
    flat = _stored(checkpoint, "flax", dtype)
    tree = unflatten_dict(flat, sep="/")
    _hugging_face_folder(
        path, checkpoint, lambda folder: (folder / "flax_model.msgpack").write_bytes(msgpack_serialize(tree))
    )


# Name on the command line -> writer. Folders unless the name ends in a file's suffix.
FORMATS: Mapping[str, Callable[[Path, Checkpoint, str], None]] = MappingProxyType(
    {
        "liqe": write_native,
        "hf-safetensors": _hf_safetensors,
        "hf-pytorch": _hf_pytorch,
        "hf-flax": _hf_flax,
        "openai-pt": _openai_pt,
        "openai-safetensors": _openai_safetensors,
        "pyiqa-pt": _pyiqa_pt,
        "checkpoint-pt": _checkpoint_pt,
    }
)


# The table of names that a format uses; an encoder without it cannot be written so.
LAYOUT_OF: Mapping[str, str] = MappingProxyType(
    {
        "hf-safetensors": "hugging_face",
        "hf-pytorch": "hugging_face",
        "hf-flax": "flax",
        "openai-pt": "openai",
        "openai-safetensors": "openai",
        "pyiqa-pt": "openai",
        "checkpoint-pt": "openai",
    }
)

# Formats whose readers infer the architecture from the shapes of the arrays.
_WITHOUT_CONFIG = ("openai-pt", "openai-safetensors", "pyiqa-pt", "checkpoint-pt")


def default_format(path: str | os.PathLike) -> str:
    """The format that a destination's suffix suggests.

    Raises:
      UsageError: the suffix is that of a file that only lies within a folder.
    """
    suffix = Path(path).suffix
    if suffix in (".msgpack", ".bin"):
        form = "hf-flax" if suffix == ".msgpack" else "hf-pytorch"
        raise UsageError(f"{path} would be a folder's file. Name the folder, and the format {form} (--to {form}).")
    return {".pt": "openai-pt", ".pth": "openai-pt", ".safetensors": "openai-safetensors"}.get(suffix, "liqe")


def write_model(
    path: str | os.PathLike, checkpoint: Checkpoint, form: str | None = None, dtype: str = "float32"
) -> None:
    """Writes `checkpoint` to `path`, which must not exist.

    Args:
      path: file or folder, as the format wants.
      checkpoint: parameters already rounded to `dtype` (see `rounded`), so that a model's text
        features, if the format stores them, belong to the weights as stored.
      form: a key of `FORMATS`; None decides by the suffix of `path`.
      dtype: a key of `DTYPES`.

    Raises:
      UsageError: an unknown format or type.
      ModelError: `path` exists, or the format needs something that the checkpoint lacks.
    """
    path, form = Path(path), form or default_format(path)
    if form not in FORMATS or dtype not in DTYPES:
        raise UsageError(f"Unknown format or dtype {form!r}, {dtype!r}; formats: {', '.join(FORMATS)}.")
    if path.exists():
        raise ModelError(f"{path} exists already. Remove it, or choose another name.")
    encoder = checkpoint.encoder
    if form != "liqe" and LAYOUT_OF[form] not in encoder.layouts:
        raise ModelError(
            f"The format {form} has no place for this model, whose encoder is {encoder.name}. Choose liqe."
        )
    if form in _WITHOUT_CONFIG and (inferred := encoder.from_weights(checkpoint.flat)) != encoder:
        raise ModelError(
            f"The format {form} has no configuration; its readers take heads to be 64 wide and the activation to "
            f"be QuickGELU. This model would come back as {inferred} instead of {encoder}. Choose liqe or "
            "one of the hf- formats."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        FORMATS[form](path, checkpoint, dtype)
    except (OSError, SafetensorError) as error:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        raise ModelError(f"Cannot write {path} ({error}). Check the disk and your permissions.") from error
