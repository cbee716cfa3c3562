"""Every weight format: written and read back unchanged, loaded by PyTorch and transformers, and refused when wrong."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax.serialization import msgpack_restore, msgpack_serialize
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from liqe_jax.encoders.clip import CLIP
from liqe_jax.encoders.clip_towers import PIXEL_MEAN, PIXEL_STD
from liqe_jax.encoders.two_towers import TowerConfig
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.taxonomy import QUALITY_ONLY
from liqe_jax.text.tokenizer import Tokenizer
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.layouts import Flat, from_flax
from liqe_jax.weights.open import with_text_features
from liqe_jax.weights.read import read_model
from liqe_jax.weights.torch_writer import write_torch
from liqe_jax.weights.write import DTYPES, FORMATS, default_format, rounded, write_model

from .tiny import SMALL, foreign_checkpoint, plain_text_features

SUFFIXES = {"openai-pt": ".pt", "openai-safetensors": ".safetensors", "pyiqa-pt": ".pt", "checkpoint-pt": ".pt"}


def destination(folder: Path, form: str) -> Path:
    return folder / f"written{SUFFIXES.get(form, '')}"


def assert_same(got: Flat, want: Flat) -> None:
    assert got.keys() == want.keys()
    for name, array in want.items():
        assert got[name].dtype == np.float32
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def tower(width: int, heads: int, activation: str = "quick_gelu") -> TowerConfig:
    return TowerConfig(width=width, layers=2, heads=heads, mlp_width=width + 16, activation=activation)


@pytest.fixture(scope="module")
def small() -> Checkpoint:
    """A model of two megabytes, with a vocabulary too small for any prompt."""
    return foreign_checkpoint(SMALL)


@pytest.fixture(scope="module")
def folders(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in every format. Read-only: copy what you damage."""
    folder = tmp_path_factory.mktemp("formats")
    for form in FORMATS:
        (folder / form).mkdir()
        write_model(destination(folder / form, form), checkpoint, form)
    return folder


# Round trips


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_comes_back_unchanged(folders: Path, checkpoint: Checkpoint, form: str) -> None:
    got = read_model(destination(folders / form, form))
    assert_same(got.flat, checkpoint.flat)
    if form not in SUFFIXES:  # folders have a config.json
        assert got.encoder == checkpoint.encoder
        assert got.tokenizer is not None
        assert got.tokenizer.vocab == Tokenizer.default().vocab
        assert got.tokenizer.merges == Tokenizer.default().merges
    assert (got.tasks == checkpoint.tasks) == (form == "liqe")


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "liqe"])
def test_foreign_formats_say_what_they_were_read_from(folders: Path, form: str) -> None:
    got = read_model(destination(folders / form, form))
    assert got.provenance.name == "written"
    assert len(got.provenance.source_sha256) == 64
    assert got.provenance.trained_on is None
    assert set(got.source_dtypes) == {"float32"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("form", FORMATS)
def test_half_precision_comes_back_as_rounded(tmp_path: Path, checkpoint: Checkpoint, form: str, dtype: str) -> None:
    want = rounded(checkpoint.flat, dtype)
    half = with_text_features(dataclasses.replace(checkpoint, flat=want, text_features=None), checkpoint.tasks)
    write_model(destination(tmp_path, form), half, form, dtype)
    got = read_model(destination(tmp_path, form))
    assert_same(got.flat, want)
    if form != "liqe":
        assert set(got.source_dtypes) == {dtype}


def test_rounding_keeps_what_the_type_can_hold(checkpoint: Checkpoint) -> None:
    assert_same(rounded(checkpoint.flat, "float32"), checkpoint.flat)
    name = "visual_projection/kernel"
    assert not np.array_equal(rounded(checkpoint.flat, "bfloat16")[name], checkpoint.flat[name])
    np.testing.assert_allclose(rounded(checkpoint.flat, "bfloat16")[name], checkpoint.flat[name], rtol=2**-8)


def test_float16_overflow_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    flat = checkpoint.flat | {"visual_projection/kernel": checkpoint.flat["visual_projection/kernel"] * 1e7}
    with pytest.raises(ModelError, match="float16 cannot hold the values of visual_projection/kernel"):
        rounded(flat, "float16")
    assert np.isfinite(rounded(flat, "bfloat16")["visual_projection/kernel"]).all()
    # Nor does writing without rounding first store infinities.
    for form in FORMATS:
        path = destination(tmp_path / form, form)
        with pytest.raises(ModelError, match="float16 cannot hold"):
            write_model(path, dataclasses.replace(checkpoint, flat=flat), form, "float16")
        assert not path.exists()


@pytest.mark.parametrize("form", FORMATS)
def test_an_existing_destination_is_refused(tmp_path: Path, checkpoint: Checkpoint, form: str) -> None:
    path = destination(tmp_path, form)
    path.write_text("mine")
    with pytest.raises(ModelError, match="exists already") as caught:
        write_model(path, checkpoint, form)
    assert str(path) in str(caught.value)
    assert path.read_text() == "mine"


def test_unknown_formats_and_types_are_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match="'onnx'"):
        write_model(tmp_path / "a", checkpoint, "onnx")
    with pytest.raises(UsageError, match="'int8'"):
        write_model(tmp_path / "a", checkpoint, "hf-flax", "int8")
    with pytest.raises(UsageError, match="'int8'"):
        rounded(checkpoint.flat, "int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.pt", "openai-pt"), ("a.pth", "openai-pt"), ("a.safetensors", "openai-safetensors"), ("a", "liqe")],
)
def test_the_suffix_suggests_the_format(tmp_path: Path, checkpoint: Checkpoint, name: str, form: str) -> None:
    assert default_format(name) == form
    write_model(tmp_path / "new" / "folder" / name, checkpoint)
    assert (tmp_path / "new" / "folder" / name).is_dir() == (form == "liqe")
    assert_same(read_model(tmp_path / "new" / "folder" / name).flat, checkpoint.flat)


# PyTorch


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("form", "inside"), [("openai-pt", None), ("pyiqa-pt", "params"), ("checkpoint-pt", "model_state_dict")]
)
def test_torch_loads_our_files_with_weights_only(
    tmp_path: Path, checkpoint: Checkpoint, form: str, inside: str | None, dtype: str
) -> None:
    torch = pytest.importorskip("torch")
    flat = rounded(checkpoint.flat, dtype)
    write_model(tmp_path / "model.pt", dataclasses.replace(checkpoint, flat=flat), form, dtype)
    loaded = torch.load(tmp_path / "model.pt", weights_only=True)
    state = loaded[inside] if inside else loaded
    prefix = "clip_model." if form == "pyiqa-pt" else ""
    want = {prefix + name: array for name, array in from_flax(flat, CLIP, "openai").items()}
    assert state.keys() == want.keys()
    for name, tensor in state.items():
        assert tensor.dtype == getattr(torch, dtype)
        assert tensor.is_contiguous()
        np.testing.assert_array_equal(tensor.float().numpy(), want[name], err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("prefix", ["", "module.", "clip_model.", "clip_model.module."])
@pytest.mark.parametrize("wrapper", [None, "model_state_dict", "params", "state_dict"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_reads_what_torch_saves(
    tmp_path: Path, small: Checkpoint, wrapper: str | None, prefix: str, dtype: str, zipped: bool
) -> None:
    torch = pytest.importorskip("torch")
    flat = rounded(small.flat, dtype)
    state = {
        prefix + name: torch.tensor(array).to(getattr(torch, dtype))
        for name, array in from_flax(flat, CLIP, "openai").items()
    }
    path = tmp_path / "model.pt"
    torch.save({wrapper: state} if wrapper else state, path, _use_new_zipfile_serialization=zipped)
    assert_same(read_model(path).flat, flat)


def test_reads_the_references_training_checkpoints(tmp_path: Path, checkpoint: Checkpoint) -> None:
    torch = pytest.importorskip("torch")
    state = {name: torch.tensor(array) for name, array in from_flax(checkpoint.flat, CLIP, "openai").items()}
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    content = {"epoch": 5, "model_state_dict": state, "optimizer_state_dict": optimizer.state_dict()}
    torch.save(content | {"all_results": {"live": np.float64(0.9)}}, tmp_path / "model.pt")
    got = read_model(tmp_path / "model.pt")
    assert_same(got.flat, checkpoint.flat)
    assert "epoch 5" in got.provenance.notes
    assert "left out: all_results, epoch, optimizer_state_dict" in got.provenance.notes[0]


# transformers

CONFIGS = {
    "quick_gelu": CLIP(vision=tower(64, 2), text=tower(32, 2), projection_dim=24),
    "gelu": CLIP(vision=tower(64, 2, "gelu"), text=tower(32, 4, "gelu"), projection_dim=24),
    "mixed": CLIP(vision=tower(32, 4, "gelu"), text=tower(48, 3), projection_dim=32),
    "b16": CLIP(vision=tower(48, 3), text=tower(32, 2), patch_size=16, projection_dim=32),
    "l14-336": CLIP(vision=tower(32, 2), text=tower(32, 1), image_size=336, patch_size=14, projection_dim=16),
}


@pytest.fixture(scope="module", params=CONFIGS)
def foreign(request: pytest.FixtureRequest) -> Checkpoint:
    """A random model of each kind."""
    return foreign_checkpoint(CONFIGS[request.param], seed=3)


@pytest.mark.parametrize("form", ["hf-safetensors", "hf-pytorch", "liqe"])
def test_transformers_agrees_on_our_folders(tmp_path: Path, foreign: Checkpoint, form: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = foreign.encoder
    write_model(tmp_path / "model", foreign, form)
    model, info = transformers.CLIPModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    model = model.eval()
    params = jax.tree.map(jnp.asarray, foreign.params)
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (2, config.image_size, config.image_size, 3), np.uint8)
    normalised = (pixels / 255 - np.array(PIXEL_MEAN)) / np.array(PIXEL_STD)
    token_ids = Tokenizer.default()(["a photo of a cat", "noise", *QUALITY_ONLY.prompts])
    with torch.no_grad():
        tensor = torch.from_numpy(normalised.astype(np.float32)).permute(0, 3, 1, 2)
        image = model.visual_projection(model.vision_model(tensor).pooler_output)
        text = model.text_projection(model.text_model(torch.from_numpy(token_ids).long()).pooler_output)
    for theirs, ours in (
        (image, jax.jit(config.image_features)(params, jnp.asarray(pixels))),
        (text, jax.jit(plain_text_features, static_argnums=2)(params, token_ids, config)),
    ):
        want = (theirs / theirs.norm(dim=-1, keepdim=True)).numpy()
        np.testing.assert_allclose(np.asarray(ours), want, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(model.logit_scale.detach().numpy(), foreign.flat["logit_scale"])


def test_transformers_reads_our_tokenizer(folders: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(destination(folders / "hf-safetensors", "hf-safetensors"))
    sentences = ["a photo of a animal with jpeg2000 compression artifacts", "Größe: 3½ ... don't!"]
    want = Tokenizer.default()(sentences)
    for sentence, row in zip(sentences, want, strict=True):
        ids = tokenizer(sentence)["input_ids"]
        assert ids == row[: len(ids)].tolist()
        assert not row[len(ids) :].any()


@pytest.mark.parametrize("form", ["save_pretrained", "pytorch_model.bin"])
def test_reads_what_transformers_saves(tmp_path: Path, folders: Path, checkpoint: Checkpoint, form: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.CLIPModel.from_pretrained(destination(folders / "hf-safetensors", "hf-safetensors"))
    if form == "save_pretrained":
        model.save_pretrained(tmp_path / "saved")
    else:
        model.config.save_pretrained(tmp_path / "saved")
        torch.save(model.state_dict(), tmp_path / "saved" / form)
    got = read_model(tmp_path / "saved")
    assert got.encoder == checkpoint.encoder
    assert_same(got.flat, checkpoint.flat)


def test_reads_the_constant_buffers_of_older_files(tmp_path: Path, checkpoint: Checkpoint) -> None:
    hugging_face = from_flax(checkpoint.flat, CLIP, "hugging_face")
    ids = np.arange(77)[None]
    save_file(hugging_face | {"text_model.embeddings.position_ids": ids}, tmp_path / "hugging_face.safetensors")
    openai = from_flax(checkpoint.flat, CLIP, "openai")
    constants = {name: np.array(77) for name in ("input_resolution", "context_length", "vocab_size")}
    write_torch(tmp_path / "openai.pt", openai | constants)
    for name in ("hugging_face.safetensors", "openai.pt"):
        assert_same(read_model(tmp_path / name).flat, checkpoint.flat)


# Flax


def test_flax_folders_have_the_names_of_transformers(folders: Path, checkpoint: Checkpoint) -> None:
    tree = msgpack_restore((destination(folders / "hf-flax", "hf-flax") / "flax_model.msgpack").read_bytes())
    assert set(tree) == {"vision_model", "text_model", "visual_projection", "text_projection", "logit_scale"}
    assert_same(flatten_dict(tree, sep="/"), checkpoint.flat)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("nested", [False, True])
def test_reads_msgpack_with_and_without_params(
    tmp_path: Path, checkpoint: Checkpoint, nested: bool, dtype: type
) -> None:
    tree = jax.tree.map(lambda array: array.astype(dtype), checkpoint.params)
    (tmp_path / "model.msgpack").write_bytes(msgpack_serialize({"params": tree} if nested else tree))
    want = {name: array.astype(dtype).astype(np.float32) for name, array in checkpoint.flat.items()}
    assert_same(read_model(tmp_path / "model.msgpack").flat, want)


def test_msgpack_of_something_else_is_refused(tmp_path: Path) -> None:
    for content in ([1, 2], {"a": np.ones(2)}, {"vision_model": 3}, {"params": None}):
        path = tmp_path / "model.msgpack"
        path.write_bytes(msgpack_serialize(content))
        with pytest.raises(ModelError, match=r"model\.msgpack"):
            read_model(path)


# Weights that are wrong

# One array of each layout that something else than the signature tells.
VICTIMS = {
    "openai": "visual.transformer.resblocks.1.mlp.c_fc.weight",
    "hugging_face": "vision_model.encoder.layers.1.mlp.fc1.weight",
    "flax": "vision_model/encoder/layers/1/mlp/fc1/kernel",
}


def write_state(path: Path, state: Flat, layout: str) -> Path:
    """One file of the kind that the layout is usually in."""
    path = path / {"openai": "model.pt", "hugging_face": "model.safetensors", "flax": "model.msgpack"}[layout]
    if layout == "openai":
        write_torch(path, state)
    elif layout == "hugging_face":
        save_file(state, path)
    else:
        path.write_bytes(msgpack_serialize(state))
    return path


@pytest.mark.parametrize("layout", CLIP.layouts)
def test_missing_and_superfluous_arrays_are_listed_together(tmp_path: Path, small: Checkpoint, layout: str) -> None:
    state = from_flax(small.flat, CLIP, layout)
    state["renamed_array"] = state.pop(VICTIMS[layout])
    path = write_state(tmp_path, state, layout)
    with pytest.raises(ModelError) as caught:
        read_model(path)
    message = str(caught.value)
    assert f"missing (1): {VICTIMS[layout]}" in message
    assert "superfluous (1): renamed_array" in message
    assert str(path) in message


@pytest.mark.parametrize("layout", CLIP.layouts)
def test_integer_arrays_are_refused_by_name(tmp_path: Path, small: Checkpoint, layout: str) -> None:
    state = from_flax(small.flat, CLIP, layout)
    state[VICTIMS[layout]] = state[VICTIMS[layout]].astype(np.int32)
    with pytest.raises(ModelError) as caught:
        read_model(write_state(tmp_path, state, layout))
    assert f"not floating point (1): {VICTIMS[layout]} (int32)" in str(caught.value)


@pytest.mark.parametrize("layout", CLIP.layouts)
def test_wrong_shapes_show_both_sides(tmp_path: Path, small: Checkpoint, layout: str) -> None:
    state = from_flax(small.flat, CLIP, layout)
    state[VICTIMS[layout]] = np.zeros((7, 9), np.float32)
    with pytest.raises(ModelError) as caught:
        read_model(write_state(tmp_path, state, layout))
    got = "(7, 9)" if layout == "flax" else "(9, 7)"
    assert f"vision_model/encoder/layers/1/mlp/fc1/kernel: expected (128, 160), got {got}" in str(caught.value)


@pytest.mark.parametrize("layout", CLIP.layouts)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 0)], ids=str)
def test_no_shape_of_any_array_is_anything_but_a_model_error(
    tmp_path: Path, small: Checkpoint, layout: str, shape: tuple[int, ...]
) -> None:
    # The architecture is read off some arrays before their shapes are known to be right.
    state = from_flax(small.flat, CLIP, layout)
    for name in state:
        # One block stands for all, and what is a vector by nature is checked like the rest.
        if re.search(r"[./][12][./]|ln_|norm|bias", name) or state[name].shape == shape:
            continue
        path = write_state(tmp_path, state | {name: np.zeros(shape, np.float32)}, layout)
        with pytest.raises(ModelError) as caught:
            read_model(path)
        assert str(path) in str(caught.value), name


def test_only_one_tower_is_refused(tmp_path: Path, small: Checkpoint) -> None:
    state = from_flax(small.flat, CLIP, "hugging_face")
    save_file({n: a for n, a in state.items() if n.startswith("vision_model")}, tmp_path / "vision.safetensors")
    with pytest.raises(ModelError, match=r"missing \(\d+\): logit_scale, text_model\.embeddings"):
        read_model(tmp_path / "vision.safetensors")


def test_a_lost_block_is_refused(tmp_path: Path, small: Checkpoint) -> None:
    state = from_flax(small.flat, CLIP, "openai")
    state = {name: array for name, array in state.items() if ".resblocks.0." not in name}
    with pytest.raises(ModelError, match=r"missing \(24\)"):
        read_model(write_state(tmp_path, state, "openai"))


def test_no_blocks_at_all_are_refused(tmp_path: Path, small: Checkpoint) -> None:
    state = from_flax(small.flat, CLIP, "openai")
    state = {name: array for name, array in state.items() if ".resblocks." not in name}
    with pytest.raises(ModelError, match=r"model\.pt"):
        read_model(write_state(tmp_path, state, "openai"))


def test_files_without_a_clip_show_what_they_hold(tmp_path: Path) -> None:
    write_torch(tmp_path / "resnet.pt", {"conv1.weight": np.ones((2, 2), np.float32)})
    with pytest.raises(ModelError, match=r"none of visual\.conv1\.weight.*its 1 arrays \(conv1\.weight"):
        read_model(tmp_path / "resnet.pt")
    write_torch(tmp_path / "empty.pt", {})
    with pytest.raises(ModelError, match="its 0 arrays"):
        read_model(tmp_path / "empty.pt")


def test_state_dicts_with_other_things_are_refused(tmp_path: Path, small: Checkpoint) -> None:
    write_torch(tmp_path / "model.pt", {**from_flax(small.flat, CLIP, "openai"), "epoch": 3})
    with pytest.raises(ModelError, match=r"not tensors where a state dict was expected: epoch \(int\)"):
        read_model(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.msgpack"])
@pytest.mark.parametrize("kept", [0, 0.001, 0.5, 0.999])
def test_cut_files_are_refused(tmp_path: Path, small: Checkpoint, name: str, kept: float) -> None:
    layout = {".pt": "openai", ".safetensors": "hugging_face", ".msgpack": "flax"}[Path(name).suffix]
    path = write_state(tmp_path, from_flax(small.flat, CLIP, layout), layout)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ModelError, match=r"[Dd]ownload") as caught:
        read_model(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.msgpack"])
def test_text_instead_of_weights_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelError, match=name):
        read_model(tmp_path / name)


def test_missing_paths_and_folders_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No model at"):
        read_model(tmp_path / "absent")
    with pytest.raises(ModelError, match="found an empty folder"):
        read_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"found config\.json"):
        read_model(tmp_path)


# config.json


def test_without_config_the_shapes_tell_the_architecture(tmp_path: Path, small: Checkpoint) -> None:
    for form in SUFFIXES:
        write_model(destination(tmp_path / form, form), small, form)
        assert read_model(destination(tmp_path / form, form)).encoder == SMALL


def test_a_config_beside_a_file_is_used(tmp_path: Path, small: Checkpoint) -> None:
    # Heads, activations and epsilons cannot be seen in the weights.
    other = dataclasses.replace(SMALL, vision=dataclasses.replace(SMALL.vision, heads=4, activation="gelu"))
    write_torch(tmp_path / "model.pt", from_flax(small.flat, CLIP, "openai"))
    assert read_model(tmp_path / "model.pt").encoder == SMALL
    (tmp_path / "config.json").write_text(json.dumps(other.to_config()))
    assert read_model(tmp_path / "model.pt").encoder == other


@pytest.mark.parametrize("content", ['{"model_type": "bert"}', "[1]", '{"editor": {"tabs": 4}}', "{", "\xff"])
def test_somebody_else_s_config_beside_a_file_is_ignored(tmp_path: Path, small: Checkpoint, content: str) -> None:
    """A weight file may lie in a folder of downloads."""
    write_torch(tmp_path / "LIQE.pt", from_flax(small.flat, CLIP, "openai"))
    (tmp_path / "config.json").write_bytes(content.encode("latin1"))
    assert read_model(tmp_path / "LIQE.pt").encoder == SMALL


@pytest.mark.parametrize("layout", ["openai", "hugging_face"])
def test_a_number_in_a_name_is_no_amount_of_work(tmp_path: Path, layout: str) -> None:
    name = {"openai": "visual.transformer.resblocks.{}.", "hugging_face": "vision_model.encoder.layers.{}."}[layout]
    arrays = {
        CLIP.layouts[layout].signature: np.zeros(1, np.float32),
        name.format(10**9) + "ln_1.weight": np.zeros(1, np.float32),
    }
    save_file(arrays, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="names a block 1000000000 and holds 2 arrays"):
        read_model(tmp_path / "model.safetensors")


@pytest.mark.parametrize(("name", "form"), [("a.msgpack", "hf-flax"), ("a.bin", "hf-pytorch")])
def test_a_suffix_of_files_within_folders_is_refused(name: str, form: str) -> None:
    with pytest.raises(UsageError, match=f"--to {form}"):
        default_format(name)


@pytest.fixture
def folder(tmp_path: Path, small: Checkpoint) -> Path:
    """A Hugging Face folder to damage."""
    write_model(tmp_path / "model", small, "hf-safetensors")
    return tmp_path / "model"


def change_config(folder: Path, change: Callable[[dict], object]) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    change(config)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")


@pytest.mark.parametrize(
    ("section", "key", "value", "difference"),
    [
        ("vision_config", "intermediate_size", 100, r"mlp/fc1/kernel: expected \(128, 100\), got \(128, 160\)"),
        ("vision_config", "num_hidden_layers", 4, r"vision_model/encoder/layers/3/\S+: expected \(.*\), got nothing"),
        ("vision_config", "num_hidden_layers", 2, r"vision_model/encoder/layers/2/\S+: expected nothing, got \("),
        ("vision_config", "image_size", 112, r"position_embedding/embedding: expected \(50, 128\), got \(37, 128\)"),
        ("text_config", "hidden_size", 32, r"token_embedding/embedding: expected \(50, 32\), got \(50, 64\)"),
        ("text_config", "vocab_size", 7, r"token_embedding/embedding: expected \(7, 64\), got \(50, 64\)"),
        (None, "projection_dim", 25, r"visual_projection/kernel: expected \(128, 25\), got \(128, 40\)"),
    ],
)
def test_a_config_that_contradicts_the_weights_is_refused(
    folder: Path, section: str | None, key: str, value: int, difference: str
) -> None:
    change_config(folder, lambda config: (config[section] if section else config).update({key: value}))
    with pytest.raises(ModelError, match=r"do not fit their configuration") as caught:
        read_model(folder)
    assert caught.match(difference)
    assert caught.match("config.json that belongs to these weights")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"vision_config": []}',
        '{"vision_config": [1]}',
        '{"vision_config": {"hidden_size": "wide"}}',
        '{"vision_config": {"hidden_size": null}}',
        '{"vision_config": {"num_attention_heads": 0}}',
        '{"vision_config": {"num_attention_heads": -1}}',
        '{"vision_config": {"num_hidden_layers": 0}}',
        '{"vision_config": {"num_hidden_layers": -1}}',
        '{"vision_config": {"num_hidden_layers": 1000000000000}}',
        '{"vision_config": {"patch_size": 0}}',
        '{"vision_config": {"patch_size": [16, 16]}}',
        '{"vision_config": {"image_size": -224}}',
        '{"text_config": {"eos_token_id": "end"}}',
        '{"projection_dim": 1e400}',
        '{"model_type": "siglip"}',
    ],
)
def test_corrupt_configs_are_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json|configuration"):
        read_model(folder)


# Shards


def shard(folder: Path, parts: int = 3) -> list[str]:
    """Splits a folder's weights, as transformers does with large models."""
    state = load_file(folder / "model.safetensors")
    names = [f"model-{part + 1:05}-of-{parts:05}.safetensors" for part in range(parts)]
    for part, name in enumerate(names):
        save_file({key: state[key] for key in sorted(state)[part::parts]}, folder / name)
    places = {key: names[index % parts] for index, key in enumerate(sorted(state))}
    content = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    (folder / "model.safetensors").unlink()
    return names


def test_shards_are_read_together(folder: Path, small: Checkpoint) -> None:
    shard(folder)
    for path in (folder, folder / "model.safetensors.index.json"):
        got = read_model(path)
        assert_same(got.flat, small.flat)
        assert got.provenance.source_sha256 == ""


def test_a_lost_shard_is_named(folder: Path) -> None:
    names = shard(folder)
    (folder / names[1]).unlink()
    with pytest.raises(ModelError, match=names[1]):
        read_model(folder)


def test_a_cut_shard_is_named(folder: Path) -> None:
    names = shard(folder)
    (folder / names[2]).write_bytes((folder / names[2]).read_bytes()[:1000])
    with pytest.raises(ModelError, match=names[2]):
        read_model(folder)


@pytest.mark.parametrize(
    "content",
    ["{", "{}", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "../b.safetensors"}}'],
)
def test_a_corrupt_index_is_named(folder: Path, content: str) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json"):
        read_model(folder)


# The tokenizer beside the weights


def test_a_tokenizer_json_alone_is_read(folder: Path) -> None:
    default = Tokenizer.default()
    model = {"vocab": default.vocab, "merges": [merge.split(" ") for merge in default.merges]}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model}), "utf-8")
    (folder / "vocab.json").unlink()
    got = read_model(folder).tokenizer
    assert got is not None
    assert (got.vocab, got.merges) == (default.vocab, default.merges)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.json", b"{"),
        ("vocab.json", b"[]"),
        ("vocab.json", b'{"a": 1}'),
        ("vocab.json", b'{"<|startoftext|>": "x", "<|endoftext|>": "y"}'),
        ("vocab.json", b"\xff\xfe"),
        ("merges.txt", b"\xff\xfe"),
        ("merges.txt", b"one\ntwo words too many\n"),
    ],
)
def test_a_corrupt_tokenizer_is_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer|vocabulary"):
        read_model(folder)


@pytest.mark.parametrize("form", FORMATS)
def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    def fail(*arguments: object, **_: object) -> None:
        next(argument for argument in arguments if isinstance(argument, Path)).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("liqe_jax.weights.files.save_file", fail)
    monkeypatch.setattr("liqe_jax.weights.write.write_torch", fail)
    monkeypatch.setattr("liqe_jax.weights.write.write_json", fail)
    path = destination(tmp_path, form)
    with pytest.raises(ModelError, match="No space left on device") as caught:
        write_model(path, checkpoint, form)
    assert str(path) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_blocks_keep_their_numbers_in_openai_s_names(tmp_path):
    """A file that is written and read in the same wrong order would come back unchanged."""
    checkpoint = foreign_checkpoint(SMALL)
    write_model(tmp_path / "model.safetensors", checkpoint, "openai-safetensors")
    written = load_file(tmp_path / "model.safetensors")
    for theirs, ours, layers in (("visual.", "vision_model", 3), ("", "text_model", 2)):
        for layer in range(layers):
            bias = checkpoint.flat[f"{ours}/encoder/layers/{layer}/mlp/fc1/bias"]
            np.testing.assert_array_equal(written[f"{theirs}transformer.resblocks.{layer}.mlp.c_fc.bias"], bias)
