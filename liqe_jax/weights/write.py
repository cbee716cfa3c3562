"""Writes a model in the formats that PyTorch, transformers and Flax users load."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from flax.serialization import msgpack_serialize
from flax.traverse_util import unflatten_dict
from safetensors import SafetensorError

from liqe_jax.errors import ModelError, UsageError
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.files import write_json, write_safetensors
from liqe_jax.weights.layouts import Flat, cast, from_flax
from liqe_jax.weights.native import write_native
from liqe_jax.weights.torch_writer import StateDict, write_torch

DTYPES = ("float32", "float16", "bfloat16")


def rounded(checkpoint_flat: Flat, dtype: str) -> Flat:
    """Float32 arrays of what survives storage as `dtype`; UsageError if unknown, ModelError if a value overflows."""
    if dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")
    return cast(cast(checkpoint_flat, dtype), "float32")


def _safetensors(path: Path, state: Flat) -> None:
    write_safetensors(path, state, {"format": "pt"})


def _flax(path: Path, state: Flat) -> None:
    path.write_bytes(msgpack_serialize(unflatten_dict(state, sep="/")))


def _torch(wrapped: Callable[[Flat], StateDict]) -> Callable[[Path, Flat], None]:
    """A writer of what training code puts around a state dict."""
    return lambda path, state: write_torch(path, wrapped(state))


class Format(NamedTuple):
    """A format of other libraries."""

    layout: str  # table of names that it uses; an encoder without it cannot be written so
    write: Callable[[Path, Flat], object]
    # Of the weights, in a folder with a configuration; without it, readers infer the architecture from the shapes.
    file: str | None = None


# Name on the command line -> format.
OTHERS: Mapping[str, Format] = {
    "hf-safetensors": Format("hugging_face", _safetensors, "model.safetensors"),
    "hf-pytorch": Format("hugging_face", write_torch, "pytorch_model.bin"),
    "hf-flax": Format("flax", _flax, "flax_model.msgpack"),
    "openai-pt": Format("openai", _torch(lambda flat: flat)),
    "openai-safetensors": Format("openai", _safetensors),
    "pyiqa-pt": Format("openai", _torch(lambda flat: {"params": {f"clip_model.{k}": v for k, v in flat.items()}})),
    "checkpoint-pt": Format("openai", _torch(lambda flat: {"model_state_dict": flat})),
}
FORMATS = ("liqe", *OTHERS)


def default_format(path: str | os.PathLike) -> str:
    """The format that a destination's suffix suggests; UsageError for that of a file which only lies in a folder."""
    suffix = Path(path).suffix
    if suffix in (".msgpack", ".bin"):
        form = "hf-flax" if suffix == ".msgpack" else "hf-pytorch"
        raise UsageError(f"{path} would be a folder's file. Name the folder, and the format {form} (--to {form}).")
    return {".pt": "openai-pt", ".pth": "openai-pt", ".safetensors": "openai-safetensors"}.get(suffix, "liqe")


def write_model(
    path: str | os.PathLike, checkpoint: Checkpoint, form: str | None = None, dtype: str = "float32"
) -> None:
    """Writes `checkpoint`, already `rounded` to `dtype`, to `path`: a file or folder, as the format wants.

    Args:
      path: must not exist.
      checkpoint: the model.
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
    if form == "liqe":
        write_native(path, checkpoint, dtype)
        return
    layout, write, file = OTHERS[form]
    if layout not in encoder.layouts:
        raise ModelError(
            f"The format {form} has no place for this model, whose encoder is {encoder.name}. Choose liqe."
        )
    if file is None and (inferred := encoder.from_weights(checkpoint.flat)) != encoder:
        raise ModelError(
            f"The format {form} has no configuration; its readers take heads to be 64 wide and the activation to "
            f"be QuickGELU. This model would come back as {inferred} instead of {encoder}. Choose liqe or "
            "one of the hf- formats."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        state = from_flax(cast(checkpoint.flat, dtype), type(encoder), layout)
        if file is None:
            write(path, state)
        else:
            path.mkdir()
            write(path / file, state)
            write_json(path / "config.json", encoder.to_config())
            (checkpoint.tokenizer or encoder.tokenizer_class.default()).save(path)
    except (OSError, SafetensorError) as error:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        raise ModelError(f"Cannot write {path} ({error}). Check the disk and your permissions.") from error
