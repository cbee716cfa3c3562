"""SigLIP models as a user has them: folders that are scored, converted, trained and evaluated."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from safetensors.numpy import load_file, save_file

from configs import smoke
from liqe_jax import ModelError, load
from liqe_jax.cli.main import main
from liqe_jax.taxonomy import JOINT
from liqe_jax.text.siglip import SigLIPTokenizer
from liqe_jax.train.loop import train_and_evaluate
from liqe_jax.weights.read import read_model
from liqe_jax.weights.write import write_model

from .conftest import photograph
from .tiny_siglip import (
    SIGLIP2_TINY,
    SIGLIP_TINY,
    gemma_tokenizer,
    save_siglip_folder,
    siglip_tower,
    unigram_tokenizer,
)

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of each kind, by `model_type`. Read-only: copy what you change."""
    root = tmp_path_factory.mktemp("siglip")
    save_siglip_folder(root / "siglip", SIGLIP_TINY, unigram_tokenizer(canonical=False))
    save_siglip_folder(root / "siglip2", SIGLIP2_TINY, gemma_tokenizer())
    Image.fromarray(photograph(300, 320, 1)).save(root / "photo.png")
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command keeps compiled programs; a test must not write into somebody's home."""
    monkeypatch.setenv("LIQE_HOME", str(tmp_path_factory.getbasetemp() / "liqe_home"))


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def scored(model: Path, photo: Path, capsys: pytest.CaptureFixture, *options: str) -> float:
    capsys.readouterr()
    assert run("score", photo, "--model", model, "--format", "jsonl", "--quiet", *options) == 0
    return json.loads(capsys.readouterr().out)["quality"]


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_reads_what_transformers_saves(folders: Path, tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModel.from_pretrained(folders / kind)
    model.save_pretrained(tmp_path / "saved")
    got, want = read_model(tmp_path / "saved"), read_model(folders / kind)
    assert got.encoder == want.encoder == {"siglip": SIGLIP_TINY, "siglip2": SIGLIP2_TINY}[kind]
    assert got.flat.keys() == want.flat.keys()
    for name, array in want.flat.items():
        np.testing.assert_array_equal(got.flat[name], array, err_msg=name)
    assert got.tokenizer is None  # the model alone was saved
    assert want.tokenizer == SigLIPTokenizer.from_folder(folders / kind)


def test_text_features_are_transformers_of_the_same_prompts(folders: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.Siglip2Tokenizer.from_pretrained(folders / "siglip2", padding_side="right")
    reference = transformers.AutoModel.from_pretrained(folders / "siglip2").eval()
    ids = tokenizer(list(JOINT.prompts[::33]), padding="max_length", max_length=64, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        text = reference.text_model(ids).pooler_output
    model = load(folders / "siglip2", devices=jax.devices()[:1])
    want = (text / text.norm(dim=-1, keepdim=True)).numpy()
    np.testing.assert_allclose(np.asarray(model.text_features)[::33], want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_convert_there_and_back(folders: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture) -> None:
    want = scored(folders / kind, folders / "photo.png", capsys)
    assert run("convert", folders / kind, tmp_path / "ours") == 0
    assert run("convert", tmp_path / "ours", tmp_path / "back", "--to", "hf-safetensors") == 0
    for folder in (tmp_path / "ours", tmp_path / "back"):
        before, after = load_file(folders / kind / "model.safetensors"), load_file(folder / "model.safetensors")
        assert before.keys() == after.keys()
        for name, array in before.items():
            assert after[name].shape == array.shape
            np.testing.assert_array_equal(after[name], array, err_msg=name)
        assert (folder / "tokenizer.json").read_bytes() == (folders / kind / "tokenizer.json").read_bytes()
        assert read_model(folder).encoder == read_model(folders / kind).encoder
        assert scored(folder, folders / "photo.png", capsys) == pytest.approx(want, abs=1e-5)
    assert run("info", tmp_path / "ours") == 0
    out = capsys.readouterr().out
    assert f"encoder        {kind}" in out
    assert "2 layers, width 64, 2 heads, gelu_pytorch_tanh; input 224, ViT patch 32" in out


@pytest.mark.parametrize("form", ["hf-pytorch", "hf-flax"])
@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_other_formats_come_back_unchanged(folders: Path, tmp_path: Path, kind: str, form: str) -> None:
    want = read_model(folders / kind)
    write_model(tmp_path / "copy", want, form)
    got = read_model(tmp_path / "copy")
    assert (got.encoder, got.tokenizer) == (want.encoder, want.tokenizer)
    for name, array in want.flat.items():
        np.testing.assert_array_equal(got.flat[name], array, err_msg=name)


def test_lower_precision_scores_almost_the_same(folders: Path, capsys: pytest.CaptureFixture) -> None:
    want = scored(folders / "siglip", folders / "photo.png", capsys)
    for dtype in ("bfloat16", "int8"):
        assert scored(folders / "siglip", folders / "photo.png", capsys, "--dtype", dtype) == pytest.approx(
            want, abs=0.02
        )


# What is refused


def change_config(folder: Path, **changes: object) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | changes))


def test_a_folder_without_its_tokenizer_is_refused(folders: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folders / "siglip", tmp_path / "model")
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"needs the tokenizer\.json of its model folder"):
        load(copy)
    (copy / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"tokenizer\.json is corrupt"):
        load(copy)
    (copy / "tokenizer.json").write_bytes((folders / "siglip" / "tokenizer.json").read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"tokenizer\.json is corrupt"):
        load(copy)


def test_weights_without_config_are_refused(folders: Path, tmp_path: Path) -> None:
    shutil.copy(folders / "siglip" / "model.safetensors", tmp_path)
    with pytest.raises(ModelError, match=r"A file of a siglip needs a config\.json beside it"):
        read_model(tmp_path / "model.safetensors")
    shutil.copy(folders / "siglip" / "config.json", tmp_path)
    assert read_model(tmp_path / "model.safetensors").encoder == SIGLIP_TINY


@pytest.mark.parametrize(
    ("kind", "model_type", "message"),
    [
        ("siglip", "clip", "says model_type 'clip'; expected 'siglip'"),
        ("siglip", "blip", "says model_type 'blip'; expected 'siglip'"),
        ("siglip2", "siglip", "patch_embedding.weight has shape"),
        ("siglip", "siglip2", "patch_embedding.weight has shape"),
    ],
)
def test_config_and_weights_of_two_kinds_are_refused(
    folders: Path, tmp_path: Path, kind: str, model_type: str, message: str
) -> None:
    copy = shutil.copytree(folders / kind, tmp_path / "model")
    change_config(copy, model_type=model_type)
    with pytest.raises(ModelError, match=message):
        read_model(copy)


def test_missing_and_superfluous_arrays_are_listed(folders: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folders / "siglip", tmp_path / "model")
    state = load_file(copy / "model.safetensors")
    state["renamed"] = state.pop("vision_model.head.attention.in_proj_weight")
    save_file(state, copy / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        read_model(copy)
    assert "missing (1): vision_model.head.attention.in_proj_weight" in str(caught.value)
    assert "superfluous (1): renamed" in str(caught.value)


def test_formats_of_openai_have_no_place_for_it(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("convert", folders / "siglip", tmp_path / "x.pt") == 2
    assert "has no place for this model, whose encoder is siglip" in capsys.readouterr().err
    assert not (tmp_path / "x.pt").exists()


# Training and evaluation


def short_run(**changes: object) -> ConfigDict:
    config = smoke.get_config()
    config.data.validate = ("none",)
    config.epochs, config.steps_per_epoch, config.log_every_steps, config.devices = 1, 3, 1, 2
    config.update(changes)
    return config


def test_a_folder_is_trained_and_evaluated(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train_and_evaluate(short_run(init=str(folders / "siglip2")), str(tmp_path / "run"))
    before, after = (
        load_file(folder / "model.safetensors") for folder in (folders / "siglip2", tmp_path / "run" / "last")
    )
    assert sorted(name for name in before if np.array_equal(before[name], after[name])) == ["logit_bias", "logit_scale"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss/quality"] for row in rows if "loss/quality" in row]
    assert len(losses) == 3
    assert np.isfinite(losses).all()
    trained = read_model(tmp_path / "run" / "last")
    assert trained.tokenizer == SigLIPTokenizer.from_folder(folders / "siglip2")
    assert 1 <= scored(tmp_path / "run" / "last", folders / "photo.png", capsys) <= 5
    options = [
        "--config=configs/eval_liqe.py",
        f"--workdir={tmp_path / 'evaluation'}",
        f"--weights={tmp_path / 'run' / 'last'}",
        "--config.sets=('generated',)",
        "--config.sessions=('1',)",
        "--config.official=()",
        "--config.whole=()",
        "--config.bootstrap.resamples=20",
    ]
    done = subprocess.run(
        [sys.executable, "eval.py", *options], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "evaluation" / "results.json").read_text())["results"]
    assert row["images"] == 10


def test_a_random_start_is_scored(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tower = {"width": 32, "layers": 1, "heads": 2, "mlp_width": 48}
    architecture = {"image_size": 224, "patch_size": 32, "projection_dim": 32, "vision": tower, "text": tower}
    config = short_run(encoder="siglip", steps_per_epoch=1)
    config.architecture = ConfigDict(architecture)
    train_and_evaluate(config, str(tmp_path / "run"))
    model = tmp_path / "run" / "last"
    assert dataclasses.replace(read_model(model).encoder.text, layers=2) == siglip_tower(32, 2, 2, 48)
    # Other prompts than it was trained with are encoded anew, with the tokenizer of the folder.
    assert 1 <= scored(model, folders / "photo.png", capsys, "--tasks", "joint") <= 5
