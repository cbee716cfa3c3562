"""Exports: what the files say, and that their scores are ours."""

from __future__ import annotations

import dataclasses
import json
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

import liqe_jax
from liqe_jax.cli import export as command
from liqe_jax.cli.main import main
from liqe_jax.encoders.depthwise import convolution, depthwise
from liqe_jax.encoders.products import one_form
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.exports.export import FORMATS
from liqe_jax.exports.program import OUTPUTS, outputs_of, steps
from liqe_jax.images.preprocess import PRESETS
from liqe_jax.scoring.load import load
from liqe_jax.scoring.model import Model
from liqe_jax.taxonomy import JOINT, QUALITY_ONLY
from liqe_jax.weights.exported import DESCRIPTION, PROGRAM
from liqe_jax.weights.native import write_native

from .conftest import SAMPLES, photograph
from .tiny import SMALL, foreign_checkpoint

# Several sizes: fifteen crops, fewer, and more than one call.
PICTURES = [photograph(300, 400), photograph(250, 260, 1), photograph(230, 700, 2)]


@pytest.fixture(scope="module")
def sharp(checkpoint, tmp_path_factory) -> Model:
    """The tiny model, with logits that tell photographs apart."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    scale = np.asarray(np.log(100), np.float32)
    write_native(folder, dataclasses.replace(checkpoint, flat={**checkpoint.flat, "logit_scale": scale}))
    return load(folder, devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Another model, whose exports take less time."""
    folder = tmp_path_factory.mktemp("models") / "small"
    write_native(folder, foreign_checkpoint(SMALL))
    return folder


@pytest.fixture(scope="module")
def stablehlo(sharp, tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "tiny.stablehlo"
    liqe_jax.export(sharp, path)
    return path


def test_stablehlo_scores_as_the_model_does(sharp, stablehlo):
    exported = load(stablehlo, devices=jax.devices()[:2])
    for ours, theirs in zip(sharp.score_many(PICTURES), exported.score_many(PICTURES, batch_size=2), strict=True):
        assert ours.quality == pytest.approx(theirs.quality, abs=1e-5)
        np.testing.assert_allclose(theirs.joint, ours.joint, atol=1e-6)
        assert (theirs.model, theirs.preprocess, theirs.scene) == (ours.model, ours.preprocess, ours.scene)
    every = [model.score(PICTURES[0], crops="all").quality for model in (sharp, exported)]
    assert every[1] == pytest.approx(every[0], abs=1e-5)
    maps = [model.quality_map(PICTURES[1]).quality for model in (sharp, exported)]
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)
    assert np.ptp(maps[0]) > 1e-3


def test_stablehlo_runs_on_all_platforms_and_needs_no_liqe_jax(sharp, stablehlo):
    with zipfile.ZipFile(stablehlo) as archive:
        program = jax_export.deserialize(bytearray(archive.read(PROGRAM)))
    assert set(program.platforms) == {"cpu", "cuda", "tpu"}
    crops = np.stack([sharp.crops(PICTURES[0])] * 2)
    (joint,) = program.call(crops)
    # XLA compiles another program for two images than for one, and logits near 100 are 8e-6 apart in float32.
    np.testing.assert_allclose(joint[1], sharp.score(PICTURES[0]).joint, rtol=8e-6, atol=1e-6)


def test_a_bfloat16_program_says_so(small, tmp_path):
    path = tmp_path / "tiny.stablehlo"
    described = liqe_jax.export(small, path, dtype="bfloat16")
    assert described["dtype"] == "bfloat16"
    ours = load(small, dtype="bfloat16").score(PICTURES[0])
    assert load(path, dtype="bfloat16").score(PICTURES[0]).quality == pytest.approx(ours.quality, abs=1e-3)
    with pytest.raises(UsageError, match=r"computes in bfloat16; got dtype float32.*--dtype bfloat16"):
        load(path).score(PICTURES[0])


def test_the_description_has_what_another_program_needs(sharp, stablehlo):
    with zipfile.ZipFile(stablehlo) as archive:
        found = json.loads(archive.read(DESCRIPTION))
    assert found["digest"] == sharp.digest
    assert found["licence"] == "Apache-2.0"
    assert [label["name"] for label in found["tasks"]["attributes"]] == ["quality", "scene", "distortion"]
    assert found["input"]["shape"] == ["images", "crops", 224, 224, 3]
    assert found["outputs"] == [{"name": "joint", "dtype": "float32", "shape": ["images", 5, 9, 11]}]
    assert found["preprocess"]["count"] == 15
    assert "stride of 32, or 48" in found["preprocess"]["steps"][-1]


def test_every_preset_is_said_in_words():
    words = {name: " ".join(steps(preset, 512)) for name, preset in PRESETS.items()}
    assert "whole picture to 512 x 512" in words["whole"]
    assert "bilinear" in words["paper"]
    assert "bilinear" not in words["pyiqa"]
    assert "15 crops spread" in words["even"]
    assert len(set(words.values())) == len(words)


def test_outputs_have_the_task_set_s_names():
    assert outputs_of(JOINT, "quality") == {"quality": []}
    assert list(outputs_of(JOINT, "marginals")) == ["quality", "quality_probs", "scene_probs", "distortion_probs"]
    nominal = dataclasses.replace(
        QUALITY_ONLY, attributes=(dataclasses.replace(QUALITY_ONLY.attributes[0], values=None),)
    )
    with pytest.raises(UsageError, match="No attribute of the task set 'quality' has values"):
        outputs_of(nominal, "quality")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"to": "tflite"}, "to must be one of stablehlo, onnx; got 'tflite'"),
        ({"output": "logits"}, "output must be one of quality, marginals, joint; got 'logits'"),
        ({"batch": 0}, r"batch must be a number of images from 1, or None \(\"dynamic\"\); got 0"),
        ({"dtype": "bfloat16"}, "computes in float32; got dtype 'bfloat16'"),
    ],
)
def test_wrong_arguments_are_refused(sharp, tmp_path, arguments, said):
    with pytest.raises(UsageError, match=said):
        liqe_jax.export(sharp, tmp_path / "x.stablehlo", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"output": "quality"}, "--output quality"), ({"batch": 2}, "and a fixed batch")],
)
def test_scoring_refuses_programs_of_another_form(small, tmp_path, arguments, said):
    path = tmp_path / "x.stablehlo"
    liqe_jax.export(small, path, **arguments)
    with pytest.raises(ModelError, match=said):
        load(path)


def test_corrupt_files_are_refused(stablehlo, tmp_path):
    with zipfile.ZipFile(stablehlo) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    described = json.loads(content[DESCRIPTION])
    other_tasks = {**described, "tasks": QUALITY_ONLY.to_dict()}
    cases = {
        "not a zip": (b"nothing", "is not a file of `liqe export"),
        "no program": ({DESCRIPTION: content[DESCRIPTION]}, "is not a file of `liqe export"),
        "no description": ({PROGRAM: content[PROGRAM]}, "is not a file of `liqe export"),
        "a list": ({**content, DESCRIPTION: b"[1]"}, "is not a file of `liqe export"),
        "cut": ({**content, PROGRAM: content[PROGRAM][:1000]}, "cannot be read by this version of JAX"),
        "other tasks": ({**content, DESCRIPTION: json.dumps(other_tasks)}, "does not compute what its description"),
    }
    for name, (parts, said) in cases.items():
        path = tmp_path / f"{name}.stablehlo"
        if isinstance(parts, bytes):
            path.write_bytes(parts)
        else:
            with zipfile.ZipFile(path, "w") as archive:
                for part, data in parts.items():
                    archive.writestr(part, data)
        with pytest.raises(ModelError, match=said):
            load(path)
    with zipfile.ZipFile(tmp_path / "bomb.stablehlo", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(DESCRIPTION, b" " * 1000)
    with pytest.raises(ModelError, match="is compressed"):
        load(tmp_path / "bomb.stablehlo")


def test_a_program_that_calls_python_is_refused_and_not_run(stablehlo, tmp_path):
    def program(crops):
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        leak = jax.ffi.ffi_call("xla_python_cpu_callback", shape, has_side_effect=True)(descriptor=np.int64(1))
        return (jnp.zeros((crops.shape[0], *JOINT.shape)) + leak,)

    (free,) = jax_export.symbolic_shape("images")
    crops = jax.ShapeDtypeStruct((free, 15, 96, 96, 3), jnp.uint8)
    allowed = [jax_export.DisabledSafetyCheck.custom_call("xla_python_cpu_callback")]
    written = jax_export.export(jax.jit(program), platforms=["cpu"], disabled_checks=allowed)(crops)
    with zipfile.ZipFile(stablehlo) as archive, zipfile.ZipFile(tmp_path / "x.stablehlo", "w") as changed:
        changed.writestr(DESCRIPTION, archive.read(DESCRIPTION))
        changed.writestr(PROGRAM, bytes(written.serialize()))
    with pytest.raises(ModelError, match=r"calls xla_python_cpu_callback, .* It is refused"):
        load(tmp_path / "x.stablehlo")


def test_the_command_offers_what_there_is():
    """It repeats the names, so that `--help` imports no JAX."""
    assert (command.FORMATS, command.OUTPUTS) == (FORMATS, OUTPUTS)


def test_the_command_exports_and_scores(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LIQE_HOME", str(tmp_path / "home"))
    path = tmp_path / "tiny.stablehlo"
    assert main(["export", str(small), str(path)]) == 0
    assert "MB, crops ['images', 'crops', 96, 96, 3] -> joint ['images', 5]" in capsys.readouterr().out
    assert main(["export", str(small), str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["info", str(path)]) == 0
    assert "stablehlo" in capsys.readouterr().out
    rows = []
    for model in (path, small):
        arguments = ["score", str(SAMPLES / "coffee.jpg"), "--model", str(model), "--format", "jsonl", "--quiet"]
        assert main(arguments) == 0
        rows.append(json.loads(capsys.readouterr().out))
    assert rows[0]["quality"] == pytest.approx(rows[1]["quality"], abs=1e-5)
    assert rows[0]["digest"] != rows[1]["digest"]
    assert main(["convert", str(path), str(tmp_path / "folder")]) == 2
    assert "has no parameters to write" in capsys.readouterr().err
    assert main(["score", str(SAMPLES), "--model", str(path), "--tasks", "joint"]) == 2
    assert "its sentences cannot be changed" in capsys.readouterr().err


def test_without_jax2onnx_the_extra_is_named(sharp, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(UsageError, match=r"pip install 'liqe_jax\[onnx\]'"):
        liqe_jax.export(sharp, tmp_path / "x.onnx")


def test_one_form_computes_the_same_without_asking_for_the_platform():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 9, 7, 4)).astype(np.float32), rng.normal(size=(3, 3, 4)).astype(np.float32)
    usual = str(jax.make_jaxpr(lambda x: depthwise(x, kernel, 2))(x))
    with one_form():
        single = str(jax.make_jaxpr(lambda x: depthwise(x, kernel, 2))(x))
        result = jax.jit(lambda x: depthwise(x, kernel, 2))(x)
    assert "platform_index" in usual
    assert "platform_index" not in single
    np.testing.assert_allclose(result, depthwise(x, kernel, 2), atol=1e-5)
    full = np.zeros((3, 3, 4, 4), np.float32)
    full[:, :, range(4), range(4)] = kernel
    np.testing.assert_allclose(convolution(x, full, 2, jnp.float32), result, atol=1e-5)
