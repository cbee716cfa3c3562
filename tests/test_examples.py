"""The examples do what they say, as a user runs them; runs that are continued end with the same parameters."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import liqe_jax
from configs import smoke
from liqe_jax.cli.main import main
from liqe_jax.encoders.base import Encoder
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.taxonomy import QUALITY_DISTORTION, find_tasks
from liqe_jax.train.loop import train_and_evaluate
from liqe_jax.train.optimizers import find_optimizer
from liqe_jax.train.schedule import find_schedule
from liqe_jax.train.start import starting_checkpoint
from liqe_jax.weights.open import open_checkpoint

from .runs import environment, tiny_config

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
COOP, LORA = "examples/learned_prompts.py:LearnedPrompts", "examples/lora.py:LoRA"

pytestmark = pytest.mark.usefixtures("in_checkout")


@pytest.fixture
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def module(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


def short(config, epochs: int = 1):
    config.data.validate = ("none",)
    config.data.sets = (("generated", 4),)
    config.epochs, config.steps_per_epoch = epochs, 2
    config.checkpoint.every_steps = 2
    config.optimizer.schedule = "constant"
    config.log_every_steps = 1
    config.devices = 1
    return config


def scored(capsys, folder: Path, *options: str) -> dict:
    capsys.readouterr()
    arguments = ["score", "samples/cat.jpg", "--model", str(folder), "--format", "jsonl", "--quiet", *options]
    assert main(arguments) == 0
    return json.loads(capsys.readouterr().out)


def changed(before: dict, after: dict) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not np.array_equal(before[name], after[name])}


def trained_twice(config_of, tmp_path: Path, encoder: str | None = None):
    """Two epochs at once, and one after the other: the model of both, which has to be the same."""
    train_and_evaluate(config_of(2), str(tmp_path / "whole"))
    for epochs in (1, 2):
        train_and_evaluate(config_of(epochs), str(tmp_path / "parts"))
        if epochs == 1:
            (tmp_path / "parts" / "last").rename(tmp_path / "parts" / "first")
    whole, parts = (open_checkpoint(tmp_path / name / "last", encoder) for name in ("whole", "parts"))
    first = open_checkpoint(tmp_path / "parts" / "first", encoder)
    assert not changed(whole.flat, parts.flat)
    assert changed(first.flat, whole.flat)
    return whole


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short(path):
    assert len(path.read_text("utf-8").splitlines()) <= 80


def test_own_encoder_from_the_command_line(tmp_path):
    options = ["--config.epochs=1", "--config.steps_per_epoch=3", "--config.data.validate=('none',)"]
    command = [sys.executable, "train.py", "--config=examples/own_encoder.py", f"--workdir={tmp_path}/toy", *options]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    score = ["-m", "liqe_jax.cli.main", "score", "samples/cat.jpg", "--model", f"{tmp_path}/toy/last"]
    named = [*score, "--encoder", "examples/own_encoder.py:ToyCNN"]
    told = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *named], cwd=ROOT, env=told, check=True, capture_output=True, text=True)
    assert "samples/cat.jpg" in done.stdout
    # Without its name it is refused: a file never makes the library import anything.
    done = subprocess.run([sys.executable, *score], cwd=ROOT, env=told, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "'toy_cnn'" in done.stderr
    assert "--encoder" in done.stderr


def test_own_encoder_resumes(tmp_path):
    own = module("own_encoder")
    trained_twice(lambda epochs: short(own.get_config(), epochs), tmp_path, "examples/own_encoder.py:ToyCNN")


@pytest.mark.parametrize(
    ("name", "encoder", "part"), [("learned_prompts", COOP, "text_context"), ("lora", LORA, "lora")]
)
def test_an_adapted_clip_trains_its_own_part_alone(name, encoder, part, model_folder, tmp_path, capsys):
    own = module(name)

    def config_of(epochs):
        config = short(own.get_config(), epochs)
        config.init = str(model_folder)
        return config

    start = starting_checkpoint(config_of(1))
    end = trained_twice(config_of, tmp_path, encoder)
    moved = changed(start.flat, end.flat)
    assert moved
    assert all(entry.split("/")[0] == part for entry in moved)
    folder = tmp_path / "whole" / "last"
    row = scored(capsys, folder, "--encoder", encoder)
    assert 1 <= row["quality"] <= 5
    assert abs(scored(capsys, folder, "--encoder", encoder, "--dtype", "int8")["quality"] - row["quality"]) < 0.05
    # It is a start itself: the run goes on from its own parameters.
    again = config_of(1)
    again.init = str(folder)
    assert not changed(end.flat, starting_checkpoint(again).flat)


def test_lora_begins_as_the_clip_that_it_starts_from(model_folder):
    config = module("lora").get_config()
    config.init = str(model_folder)
    start, clip = starting_checkpoint(config), open_checkpoint(model_folder)
    assert {name for name in start.flat if not name.startswith("lora/")} == clip.flat.keys()
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    features = [np.asarray(one.encoder.image_features(one.params, crops)) for one in (start, clip)]
    np.testing.assert_array_equal(*features)
    # A change of `up` changes images and sentences, each by its own tower's factors.
    for tower in ("vision_model", "text_model"):
        name = f"lora/{tower}/encoder/layers/0/self_attn/v_proj/up"
        other = liqe_jax.with_params(start, {**start.flat, name: start.flat[name] + 0.1})
        seen = np.asarray(other.encoder.image_features(other.params, crops))
        assert np.array_equal(seen, features[0]) == (tower == "text_model")
        assert np.array_equal(other.text_features, clip.text_features) == (tower == "vision_model")


def test_learned_prompts_replace_stars(model_folder):
    own = module("learned_prompts")
    config = own.get_config()
    config.init = str(model_folder)
    start, clip = starting_checkpoint(config), open_checkpoint(model_folder)
    encoder, words = start.encoder, "a photo of the"
    ids = clip.encoder.token_ids([words])[0, 1:5]
    table = start.params["text_model"]["embeddings"]["token_embedding"]["embedding"]
    params = {**start.params, "text_context": table[ids]}

    def features(one, params, sentence):
        return np.asarray(one.encode_prompts(params, one.prompts([sentence])))

    # The words' own vectors in place of stars give the words' features.
    expected = features(clip.encoder, clip.params, f"{words} sea")
    np.testing.assert_allclose(features(encoder, params, "* * * * sea"), expected, atol=1e-6)
    np.testing.assert_allclose(features(encoder, params, f"{words} sea"), expected, atol=1e-6)
    with pytest.raises(UsageError, match="more than 4 stars"):
        encoder.prompts(["* * * * * sea"])


def test_own_loss_and_attribute(tmp_path, capsys):
    def config_of(epochs):
        config = short(tiny_config(), epochs)
        config.tasks = "examples/own_loss.py:TASKS"
        config.losses = ("quality", "examples/own_loss.py:plcc")
        return config

    trained_twice(config_of, tmp_path)
    row = scored(capsys, tmp_path / "whole" / "last")
    assert 1 <= row["appeal"] <= 3
    logged = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line["loss/plcc"] <= 2 for line in logged if "loss/plcc" in line)
    assert any("loss/plcc" in line for line in logged)


def test_own_loss_is_one_minus_the_correlation():
    own = module("own_loss")
    rng = np.random.default_rng(0)
    appeal, mos, group = rng.random(12), rng.random(12) * 100, np.arange(12) % 2

    class Prediction:
        values = {"appeal": appeal}  # noqa: RUF012

    class Labels:
        pass

    Labels.mos, Labels.group = mos, group
    expected = np.mean([1 - np.corrcoef(appeal[group == g], mos[group == g])[0, 1] for g in range(2)])
    assert float(own.plcc(Prediction, Labels, 2)) == pytest.approx(expected, abs=1e-5)


def test_own_optimizer_schedule_and_average(tmp_path, capsys):
    def config_of(epochs):
        config = short(tiny_config(), epochs)
        config.optimizer.name = "examples/own_optimizer.py:central_lamb"
        config.optimizer.schedule = "examples/own_optimizer.py:triangle"
        config.ema_decay = 0.99
        return config

    trained_twice(config_of, tmp_path)
    assert 1 <= scored(capsys, tmp_path / "whole" / "last")["quality"] <= 5
    own = module("own_optimizer")
    logged = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["learning_rate"] for line in logged if "learning_rate" in line}
    assert rates
    assert all(rate == pytest.approx(own.triangle(step - 1)) for step, rate in rates.items())


def test_data_in_memory(tmp_path, capsys):
    results = module("data_in_memory").main(str(tmp_path / "run"))
    assert "noisy" in json.dumps(results)
    assert 1 <= scored(capsys, tmp_path / "run" / "last")["quality"] <= 5


def test_the_head_and_the_weighting_of_the_page_train(tmp_path):
    page = (ROOT / "docs" / "extending.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.py").write_text("\n".join(blocks), "utf-8")
    config = short(tiny_config(), 2)
    config.encoder, config.weighting = f"{tmp_path}/mine.py:BoundedScale", f"{tmp_path}/mine.py:LATER"
    start = starting_checkpoint(config)
    train_and_evaluate(config, str(tmp_path / "run"))
    end = open_checkpoint(tmp_path / "run" / "last", config.encoder)
    assert "logit_scale" in changed(start.flat, end.flat)
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    weights = {line["step"]: line["weight/distortion"] for line in logged if "weight/distortion" in line}
    assert weights == {1: 0, 2: 0, 3: 1, 4: 1}


def test_a_task_set_by_import_path_is_a_task_set():
    assert find_tasks("examples/own_loss.py:TASKS", None).name == "quality_appeal"
    assert find_tasks("liqe_jax.taxonomy:QUALITY_DISTORTION", None) == QUALITY_DISTORTION
    for path, message in {
        "examples/own_loss.py:plcc": "must be a liqe_jax.TaskSet",
        "examples/own_loss.py:NONE": "has no 'NONE'",
        "examples/none.py:TASKS": "cannot be imported",
        "quality_and_more": "import path",
    }.items():
        with pytest.raises(UsageError, match=message):
            find_tasks(path, None)


def test_what_an_encoder_cannot_start_from_is_refused(model_folder, tmp_path):
    config = smoke.get_config()
    (tmp_path / "other.py").write_text(
        "from liqe_jax.encoders.siglip import SigLIP\nclass Other(SigLIP):\n    name, starts_from = 'other', SigLIP\n"
    )
    config.init, config.encoder = str(model_folder), f"{tmp_path}/other.py:Other"
    with pytest.raises(ModelError, match=r"starts from a siglip or continues a other; config\.init .* is a clip\."):
        starting_checkpoint(config)
    config.encoder = "examples/own_encoder.py:ToyCNN"
    with pytest.raises(ModelError, match=r"config\.json says model_type 'clip'; expected 'toy_cnn'"):
        starting_checkpoint(config)
    (tmp_path / "wrong.py").write_text("CLIP = 3\n")
    config.encoder = f"{tmp_path}/wrong.py:CLIP"
    with pytest.raises(UsageError, match="An encoder is a subclass of"):
        starting_checkpoint(config)


def test_a_from_encoder_of_other_parameters_is_refused(model_folder, tmp_path):
    (tmp_path / "forgetful.py").write_text(
        "from liqe_jax.encoders.clip import CLIP\n"
        "class Forgetful(CLIP):\n"
        "    name, starts_from = 'forgetful', CLIP\n"
        "    @classmethod\n"
        "    def from_encoder(cls, encoder, params, key):\n"
        "        return cls(**vars(encoder)), {k: v for k, v in params.items() if k != 'logit_scale'}\n"
    )
    config = smoke.get_config()
    config.init, config.encoder = str(model_folder), f"{tmp_path}/forgetful.py:Forgetful"
    with pytest.raises(ModelError, match=r"from_encoder .*\n  logit_scale: expected \(\), got nothing"):
        starting_checkpoint(config)


def test_an_optimizer_with_a_random_key_is_refused(tmp_path):
    (tmp_path / "noisy.py").write_text(
        "import optax\n\ndef noisy(rate): return optax.chain(optax.add_noise(0.01, 0.55, 0), optax.sgd(rate))\n"
    )
    config = smoke.get_config()
    config.optimizer.name = f"{tmp_path}/noisy.py:noisy"
    with pytest.raises(UsageError, match="random key in its state"):
        find_optimizer(config.optimizer)


def test_a_schedule_that_is_no_function_of_the_step_is_refused(tmp_path):
    (tmp_path / "rates.py").write_text(
        "def two(step, rate): return rate\ndef text(step): return 'low'\ndef below(step): return -1\n"
    )
    config = smoke.get_config()
    for name, message in {"two": "failed for step 0", "text": "failed for step 0", "below": "at least 0"}.items():
        config.optimizer.schedule = f"{tmp_path}/rates.py:{name}"
        with pytest.raises(UsageError, match=message):
            find_schedule(config)


def test_only_one_class_says_what_it_starts_from():
    assert Encoder.starts_from is None
    with pytest.raises(NotImplementedError):
        Encoder.from_encoder(None, {}, jax.random.key(0))
