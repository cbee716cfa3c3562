"""Models and data sets of known answers: an image's colour says what an oracle predicts for it."""

from __future__ import annotations

import io

import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy.special import expit

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.reading.decoding import pixels_of
from liqe_jax.encoders.clip import CLIP
from liqe_jax.encoders.tower import TowerConfig
from liqe_jax.images.grid import cut
from liqe_jax.model.head import Prediction, marginal
from liqe_jax.scoring.model import Model
from liqe_jax.taxonomy import DISTORTION, JOINT, QUALITY, SCENE
from liqe_jax.weights.provenance import Provenance

SESSIONS = tuple(str(session) for session in range(1, 11))
CONFIG = CLIP(TowerConfig(64, 1, 1, 64), TowerConfig(64, 1, 1, 64), projection_dim=8)

# Between neighbours, so that red, quality and MOS tell all images apart.
STEP = 3


def quality_of_red(red):
    """What the oracle says: 1 to 5."""
    return 1 + red * (4 / 255)


def mos_of_quality(quality):
    """A logistic, which the protocol's logistic can undo without an error."""
    return 20 + 60 * expit((quality - 3) / 0.7)


def colours(count: int, seed: int) -> np.ndarray:
    """Red: quality, shuffled. Green: scene, blue: distortion, times ten."""
    rng = np.random.default_rng(seed)
    red = rng.permutation(count) * STEP
    return np.stack([red, np.arange(count) % 9 * 10, np.arange(count) % 11 * 10], 1).astype(np.uint8)


def known_set(name: str, count: int = 40, seed: int = 0, scenes: bool = True, sessions: bool = True) -> LabelledSet:
    """A set that the oracle knows; a fifth of the images is in each session's test part, in turns."""
    colour = colours(count, seed)
    red, scene, distortion = colour[:, 0].astype(np.float64), colour[:, 1] // 10, colour[:, 2] // 10
    has = np.zeros((count, len(SCENE.labels)), bool)
    if scenes:
        has[np.arange(count), scene] = True

    def read(indices):
        return [_encode(colour[i]) for i in indices]

    parts = {}
    for session in SESSIONS if sessions else ():
        turn = (np.arange(count) + int(session)) % 10
        parts[session] = np.select([turn < 2, turn == 2], ["test", "val"], "train").tolist()
    parts["official"] = np.where(np.arange(count) % 4 == 0, "test", "train").tolist()
    return LabelledSet(
        name=name,
        names=[f"{i:03d}.png" for i in range(count)],
        mos=mos_of_quality(quality_of_red(red)),
        mos_range=(20.0, 80.0),
        raw_distortion=[""] * count,
        distortion=distortion.astype(np.int64) if scenes else np.full(count, -1),
        scenes=has,
        reference=[""] * count,
        read=read,
        parts=parts,
    )


def _encode(colour: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (224, 224), tuple(int(value) for value in colour)).save(buffer, "png")
    return buffer.getvalue()


def fake_predict(kind: str):
    """Stands for `liqe_jax.model.predict.predict`: reads the answer from the pixels that count."""
    noise = jnp.asarray(np.random.default_rng(5).permutation(256), jnp.float32)

    def predict(params, crops, text_features, *, encoder, tasks, crop_mask, dtype):
        pixels = crops.astype(jnp.float32).mean((2, 3))
        colour = jnp.einsum("bpc,bp->bc", pixels, crop_mask) / crop_mask.sum(-1, keepdims=True)
        red = jnp.round(colour[:, 0])
        if kind == "reversed":
            red = 255 - red
        elif kind == "noise":
            red = noise[red.astype(jnp.int32)]
        elif kind == "constant":
            red, colour = jnp.full_like(red, 127.5), colour * 0
        position = red * (4 / 255)
        levels = jnp.maximum(0, 1 - jnp.abs(position[:, None] - jnp.arange(5)))  # their expectation is the quality
        scene = 1.0 * (jnp.round(colour[:, 1:2] / 10) == jnp.arange(len(SCENE.labels)))
        distortion = 1.0 * (jnp.round(colour[:, 2:3] / 10) == jnp.arange(len(DISTORTION.labels)))
        joint = jnp.einsum("bq,bs,bt->bqst", levels, scene, distortion)
        marginals = {a.name: marginal(joint, tasks, a.name) for a in tasks.attributes}
        values = {"quality": marginals["quality"] @ jnp.asarray(QUALITY.values, jnp.float32)}
        return Prediction(joint.reshape(len(joint), -1), joint, marginals, values)

    return predict


def expected_quality(dataset: LabelledSet, kind: str, seed: int = 0) -> np.ndarray:
    """What `fake_predict` will say of each image, float32."""
    red = colours(len(dataset), seed)[:, 0].astype(np.float32)
    if kind == "reversed":
        red = 255 - red
    elif kind == "noise":
        red = np.random.default_rng(5).permutation(256).astype(np.float32)[red.astype(int)]
    elif kind == "constant":
        red = np.full_like(red, 127.5)
    return quality_of_red(red)


def known_model(trained_on=(), devices=None, name: str = "known", number: float = 0.0) -> Model:
    """A model without a network; `number` is its only parameter, for its digest."""
    params = {"number": np.float32(number)}
    return Model(
        params,
        np.eye(len(JOINT.prompts), CONFIG.projection_dim),
        CONFIG,
        JOINT,
        Provenance(name, trained_on=trained_on),
        devices=devices,
    )


def patches_of(encoded: bytes, corners: np.ndarray, flip: bool) -> np.ndarray:
    """Training patches at given corners, which index the image after it was mirrored."""
    pixels = pixels_of(encoded)
    return cut(pixels[:, ::-1] if flip else pixels, corners)
