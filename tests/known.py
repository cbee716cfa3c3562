"""Models and data sets of known answers: an image's colour says what an oracle predicts for it."""

from __future__ import annotations

import dataclasses
import io
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy.special import expit

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.reading.training import pixels_of
from liqe_jax.encoders.base import Encoder
from liqe_jax.images.grid import cut
from liqe_jax.scoring.model import Model
from liqe_jax.taxonomy import DISTORTION, JOINT, SCENE
from liqe_jax.weights.provenance import Provenance

SESSIONS = tuple(str(session) for session in range(1, 11))

# Between neighbours, so that red, quality and MOS tell all images apart.
STEP = 3

# Of an image and of a crop: the answer needs no more pixels.
SIDE = 32


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
    """A set that the oracle knows; a fifth of the images is in each session's test split, in turns."""
    colour = colours(count, seed)
    red, scene, distortion = colour[:, 0].astype(np.float64), colour[:, 1] // 10, colour[:, 2] // 10
    has = np.zeros((count, len(SCENE.labels)), bool)
    if scenes:
        has[np.arange(count), scene] = True

    def read(indices):
        return [_encode(colour[i]) for i in indices]

    splits = {}
    for session in SESSIONS if sessions else ():
        turn = (np.arange(count) + int(session)) % 10
        splits[session] = np.select([turn < 2, turn == 2], ["test", "val"], "train").tolist()
    splits["official"] = np.where(np.arange(count) % 4 == 0, "test", "train").tolist()
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
        splits=splits,
    )


def _encode(colour: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), tuple(int(value) for value in colour)).save(buffer, "png")
    return buffer.getvalue()


@dataclasses.dataclass(frozen=True)
class KnownEncoder(Encoder):
    """Reads the answer from a crop's mean colour; its feature is that colour, and it has no text.

    Attributes:
      kind: "oracle", "reversed", "noise", "constant", or "corrupt", which is NaN where red is 0.
    """

    name: ClassVar[str] = "known"

    kind: str = "oracle"
    image_size: int = SIDE
    projection_dim: int = 3

    def init_params(self, key):
        return {"number": jnp.zeros(())}

    def image_features(self, params, crops, dtype=jnp.float32, remat=False):
        return jnp.asarray(crops, jnp.float32).mean((-3, -2))

    def prompts(self, sentences, tokenizer=None, devices=1):
        raise NotImplementedError

    def text_features(self, params, rows, dtype=jnp.float32, remat=False):
        raise NotImplementedError

    def logits(self, params, image_features, text_features):
        """Logarithms of the joint distribution, whose softmax it is."""
        red, green, blue = (jnp.round(image_features[..., i]) for i in range(3))
        if self.kind == "reversed":
            red = 255 - red
        elif self.kind == "noise":
            red = jnp.asarray(np.random.default_rng(5).permutation(256), jnp.float32)[red.astype(jnp.int32)]
        elif self.kind == "constant":
            red, green, blue = jnp.full_like(red, 127.5), 0 * green, 0 * blue
        elif self.kind == "corrupt":
            red = jnp.where(red == 0, jnp.nan, red)
        position = red[..., None] * (4 / 255)
        levels = jnp.maximum(0, 1 - jnp.abs(position - jnp.arange(5)))  # their expectation is the quality
        scene = jnp.round(green / 10)[..., None] == jnp.arange(len(SCENE.labels))
        distortion = jnp.round(blue / 10)[..., None] == jnp.arange(len(DISTORTION.labels))
        joint = levels[..., :, None, None] * scene[..., None, :, None] * distortion[..., None, None, :]
        return jnp.log(jnp.maximum(joint, 1e-30)).reshape(*red.shape, -1)

    def to_config(self):
        return {"model_type": self.name, "kind": self.kind}

    @classmethod
    def from_config(cls, config):
        return cls(config["kind"])


def expected_quality(dataset: LabelledSet, kind: str, seed: int = 0) -> np.ndarray:
    """What `KnownEncoder` will say of each image, float32."""
    red = colours(len(dataset), seed)[:, 0].astype(np.float32)
    if kind == "reversed":
        red = 255 - red
    elif kind == "noise":
        red = np.random.default_rng(5).permutation(256).astype(np.float32)[red.astype(int)]
    elif kind == "constant":
        red = np.full_like(red, 127.5)
    return quality_of_red(red)


def known_model(trained_on=(), devices=None, name: str = "known", number: float = 0.0, kind: str = "oracle") -> Model:
    """A model without a network; `number` is its only parameter, for its digest."""
    encoder = KnownEncoder(kind)
    return Model(
        {"number": np.float32(number)},
        np.zeros((len(JOINT.prompts), encoder.projection_dim)),
        encoder,
        JOINT,
        Provenance(name, trained_on=trained_on),
        devices=devices,
    )


def crops_of(encoded: bytes, corners: np.ndarray, flip: bool) -> np.ndarray:
    """Training crops at given corners, which index the image after it was mirrored."""
    pixels = pixels_of(encoded)
    return cut(pixels[:, ::-1] if flip else pixels, corners)
