"""The three ways CLIP's parameters are named, as one table of correspondences each.

`flax` is transformers' FlaxCLIPModel and ours, written with slashes; `openai` is the original
code's state dict, which LIQE.pt and pyiqa use; `hugging_face` is transformers' PyTorch
CLIPModel. A table says which source array fills which of our parameters; reading, writing and
the list of what is missing or superfluous all come from it.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType

import numpy as np

from liqe_jax.errors import ModelError
from liqe_jax.model.config import CLIPConfig, TowerConfig

Flat = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Rule:
    """`source` in a foreign layout holds what `targets` hold in ours."""

    source: str
    targets: tuple[str, ...]
    read: Callable[[np.ndarray], np.ndarray]
    write: Callable[[np.ndarray], np.ndarray]


def _same(source: str, target: str) -> Rule:
    return Rule(source, (target,), lambda array: array, lambda array: array)


def _transposed(source: str, target: str) -> Rule:
    return Rule(source, (target,), np.transpose, np.transpose)


def _convolution(source: str, target: str) -> Rule:
    # torch [out, in, h, w]; Flax [h, w, in, out]
    return Rule(source, (target,), lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))


def _affine(source: str, target: str) -> Iterable[Rule]:
    yield _transposed(f"{source}.weight", f"{target}/kernel")
    yield _same(f"{source}.bias", f"{target}/bias")


def _norm(source: str, target: str) -> Iterable[Rule]:
    yield _same(f"{source}.weight", f"{target}/scale")
    yield _same(f"{source}.bias", f"{target}/bias")


def openai_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """OpenAI's names (openai/CLIP, clip/model.py); q, k and v are stacked there."""

    def block(source: str, target: str) -> Iterable[Rule]:
        heads = tuple(f"{target}/self_attn/{name}_proj" for name in "qkv")
        yield Rule(f"{source}.attn.in_proj_weight", tuple(f"{h}/kernel" for h in heads), np.transpose, np.transpose)
        yield Rule(f"{source}.attn.in_proj_bias", tuple(f"{h}/bias" for h in heads), lambda a: a, lambda a: a)
        yield from _affine(f"{source}.attn.out_proj", f"{target}/self_attn/out_proj")
        yield from _norm(f"{source}.ln_1", f"{target}/layer_norm1")
        yield from _affine(f"{source}.mlp.c_fc", f"{target}/mlp/fc1")
        yield from _affine(f"{source}.mlp.c_proj", f"{target}/mlp/fc2")
        yield from _norm(f"{source}.ln_2", f"{target}/layer_norm2")

    rules = [
        _same("logit_scale", "logit_scale"),
        _same("visual.class_embedding", "vision_model/embeddings/class_embedding"),
        _convolution("visual.conv1.weight", "vision_model/embeddings/patch_embedding/kernel"),
        _same("visual.positional_embedding", "vision_model/embeddings/position_embedding/embedding"),
        *_norm("visual.ln_pre", "vision_model/pre_layrnorm"),
        *_norm("visual.ln_post", "vision_model/post_layernorm"),
        _same("visual.proj", "visual_projection/kernel"),
        _same("token_embedding.weight", "text_model/embeddings/token_embedding/embedding"),
        _same("positional_embedding", "text_model/embeddings/position_embedding/embedding"),
        *_norm("ln_final", "text_model/final_layer_norm"),
        _same("text_projection", "text_projection/kernel"),
    ]
    for layer in range(vision_layers):
        rules += block(f"visual.transformer.resblocks.{layer}", f"vision_model/encoder/layers/{layer}")
    for layer in range(text_layers):
        rules += block(f"transformer.resblocks.{layer}", f"text_model/encoder/layers/{layer}")
    return rules


def hugging_face_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """The names of transformers' PyTorch CLIPModel."""

    def block(source: str, target: str) -> Iterable[Rule]:
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _affine(f"{source}.self_attn.{name}", f"{target}/self_attn/{name}")
        yield from _norm(f"{source}.layer_norm1", f"{target}/layer_norm1")
        yield from _affine(f"{source}.mlp.fc1", f"{target}/mlp/fc1")
        yield from _affine(f"{source}.mlp.fc2", f"{target}/mlp/fc2")
        yield from _norm(f"{source}.layer_norm2", f"{target}/layer_norm2")

    vision, text = "vision_model.embeddings.", "text_model.embeddings."
    rules = [
        _same("logit_scale", "logit_scale"),
        _same(vision + "class_embedding", "vision_model/embeddings/class_embedding"),
        _convolution(vision + "patch_embedding.weight", "vision_model/embeddings/patch_embedding/kernel"),
        _same(vision + "position_embedding.weight", "vision_model/embeddings/position_embedding/embedding"),
        *_norm("vision_model.pre_layrnorm", "vision_model/pre_layrnorm"),
        *_norm("vision_model.post_layernorm", "vision_model/post_layernorm"),
        _transposed("visual_projection.weight", "visual_projection/kernel"),
        _same(text + "token_embedding.weight", "text_model/embeddings/token_embedding/embedding"),
        _same(text + "position_embedding.weight", "text_model/embeddings/position_embedding/embedding"),
        *_norm("text_model.final_layer_norm", "text_model/final_layer_norm"),
        _transposed("text_projection.weight", "text_projection/kernel"),
    ]
    for layer in range(vision_layers):
        rules += block(f"vision_model.encoder.layers.{layer}", f"vision_model/encoder/layers/{layer}")
    for layer in range(text_layers):
        rules += block(f"text_model.encoder.layers.{layer}", f"text_model/encoder/layers/{layer}")
    return rules


def flax_rules(vision_layers: int, text_layers: int) -> list[Rule]:
    """Our own names, so that every layout is read by the same code."""
    targets = (target for rule in openai_rules(vision_layers, text_layers) for target in rule.targets)
    return [_same(target, target) for target in targets]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How to recognise a layout and read it.

    Attributes:
      rules: table for a number of vision and text layers.
      signature: a name that this layout has and the others have not.
      vision_block, text_block: patterns whose group 1 is the number of a block.
      ignored: names that carry nothing: buffers, and constants of TorchScript exports.
    """

    rules: Callable[[int, int], list[Rule]]
    signature: str
    vision_block: str
    text_block: str
    ignored: str = r"(?!)"


LAYOUTS = MappingProxyType(
    {
        "openai": Layout(
            openai_rules,
            "visual.conv1.weight",
            r"visual\.transformer\.resblocks\.(\d+)\.",
            r"transformer\.resblocks\.(\d+)\.",
            r"(input_resolution|context_length|vocab_size)$",
        ),
        "hugging_face": Layout(
            hugging_face_rules,
            "vision_model.embeddings.patch_embedding.weight",
            r"vision_model\.encoder\.layers\.(\d+)\.",
            r"text_model\.encoder\.layers\.(\d+)\.",
            r".*\.position_ids$",
        ),
        "flax": Layout(
            flax_rules,
            "vision_model/embeddings/patch_embedding/kernel",
            r"vision_model/encoder/layers/(\d+)/",
            r"text_model/encoder/layers/(\d+)/",
        ),
    }
)


def recognise(names: Iterable[str]) -> str | None:
    """The layout that has these names, or None."""
    names = set(names)
    return next((name for name, layout in LAYOUTS.items() if layout.signature in names), None)


def _count(pattern: str, names: Collection[str], where: str) -> int:
    """Blocks of a tower, by the largest number in a name."""
    numbers = [int(match[1]) for name in names if (match := re.match(pattern, name))]
    count = max(numbers) + 1 if numbers else 0
    if count > len(names):  # every block has arrays; without this a number in a name could ask for any amount of work
        raise ModelError(f"{where} names a block {count - 1} and holds {len(names)} arrays: it is damaged.")
    return count


def to_flax(state: Mapping[str, np.ndarray], layout: str, where: str) -> Flat:
    """Renames and transposes a state dict into our flat parameters, float32.

    Args:
      state: name -> array in `layout`.
      layout: a key of `LAYOUTS`.
      where: the file's name, for messages.

    Raises:
      ModelError: arrays are missing, superfluous or not numbers; the message lists them.
    """
    form = LAYOUTS[layout]
    state = {name: array for name, array in state.items() if not re.match(form.ignored, name)}
    rules = form.rules(_count(form.vision_block, state, where), _count(form.text_block, state, where))
    expected = {rule.source for rule in rules}
    missing, superfluous = sorted(expected - state.keys()), sorted(state.keys() - expected)
    no_floats = sorted(
        f"{name} ({array.dtype})"
        for name, array in state.items()
        if np.dtype(array.dtype).kind != "f" and array.dtype.name != "bfloat16"
    )
    if missing or superfluous or no_floats:
        raise ModelError(
            f"{where} is not a complete CLIP in the {layout} layout.\n"
            f"  missing ({len(missing)}): {_listing(missing)}\n"
            f"  superfluous ({len(superfluous)}): {_listing(superfluous)}\n"
            f"  not floating point ({len(no_floats)}): {_listing(no_floats)}\n"
            "Give a checkpoint of the whole CLIP model, both towers, with a vision transformer."
        )

    def converted(rule: Rule) -> list[tuple[str, np.ndarray]]:
        try:
            array = rule.read(np.asarray(state[rule.source]))
            parts = np.split(array, len(rule.targets), axis=-1) if len(rule.targets) > 1 else [array]
        except (ValueError, IndexError) as error:  # IndexError: no axis at all
            shape = np.shape(state[rule.source])
            raise ModelError(f"{where}: {rule.source} has shape {shape}, which no CLIP has ({error}).") from error
        return [
            (target, np.ascontiguousarray(part, np.float32).reshape(part.shape))
            for target, part in zip(rule.targets, parts, strict=True)
        ]

    # Transposing 600 MB takes a second on one core; NumPy releases the interpreter's lock.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(itertools.chain.from_iterable(pool.map(converted, rules)))


def from_flax(flat: Mapping[str, np.ndarray], layout: str) -> Flat:
    """The inverse of `to_flax`; arrays are contiguous and keep their type.

    Raises:
      ModelError: kernels are rounded to integers, whose scales no layout has.
    """
    if rounded := sorted(name for name, array in flat.items() if np.issubdtype(array.dtype, np.integer)):
        raise ModelError(
            f"Parameters rounded to integers cannot be written ({_listing(rounded, 3)}). Load the model as float32."
        )
    form = LAYOUTS[layout]
    flax = LAYOUTS["flax"]
    state: Flat = {}
    for rule in form.rules(*(_count(pattern, flat, "The model") for pattern in (flax.vision_block, flax.text_block))):
        parts = [np.asarray(flat[target]) for target in rule.targets]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        written = rule.write(joined)
        state[rule.source] = np.ascontiguousarray(written).reshape(written.shape)
    return state


def cast(flat: Mapping[str, np.ndarray], dtype: str) -> Flat:
    """The arrays in another floating point type.

    Raises:
      ModelError: a value overflows it.
    """
    with np.errstate(over="ignore"):  # reported below, by name
        result = {name: array.astype(dtype, copy=False) for name, array in flat.items()}
    overflown = [n for n, a in result.items() if a is not flat[n] and not np.isfinite(a).all()]
    overflown = [name for name in overflown if np.isfinite(flat[name]).all()]
    if overflown:
        raise ModelError(f"{dtype} cannot hold the values of {_listing(overflown, 4)}. Use bfloat16 or float32.")
    return result


def _listing(names: list[str], most: int = 8) -> str:
    if not names:
        return "none"
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")


def infer_config(flat: Mapping[str, np.ndarray]) -> CLIPConfig:
    """Reads the architecture off the shapes of a complete set of parameters.

    Shapes do not tell the number of heads, the activation or LayerNorm's epsilon; those are
    OpenAI's: width / 64, QuickGELU, 1e-5 (openai/CLIP, clip/model.py:254-275).
    """

    def tower(prefix: str) -> TowerConfig:
        hidden, mlp = flat[f"{prefix}/encoder/layers/0/mlp/fc1/kernel"].shape
        layers = _count(rf"{prefix}/encoder/layers/(\d+)/", flat, "The model")
        return TowerConfig(width=hidden, layers=layers, heads=max(hidden // 64, 1), mlp_width=mlp)

    patch_size = flat["vision_model/embeddings/patch_embedding/kernel"].shape[0]
    tokens = flat["vision_model/embeddings/position_embedding/embedding"].shape[0]
    vocab_size = flat["text_model/embeddings/token_embedding/embedding"].shape[0]
    return CLIPConfig(
        vision=tower("vision_model"),
        text=tower("text_model"),
        image_size=round((tokens - 1) ** 0.5) * patch_size,
        patch_size=patch_size,
        vocab_size=vocab_size,
        context_length=flat["text_model/embeddings/position_embedding/embedding"].shape[0],
        eos_token_id=vocab_size - 1,
        projection_dim=flat["visual_projection/kernel"].shape[1],
    )


def check_shapes(flat: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Compares names and shapes with what a configuration demands, and prints both sides.

    Raises:
      ModelError: anything differs.
    """
    differences = [
        f"  {name}: expected {expected.get(name, 'nothing')}, got {flat[name].shape if name in flat else 'nothing'}"
        for name in sorted(expected.keys() | flat.keys())
        if name not in flat or name not in expected or tuple(flat[name].shape) != tuple(expected[name])
    ]
    if differences:
        shown = "\n".join(differences[:12]) + ("\n  ..." if len(differences) > 12 else "")
        raise ModelError(
            f"The weights in {where} do not fit their configuration ({len(differences)} differences):\n{shown}\n"
            "Give the config.json that belongs to these weights."
        )
