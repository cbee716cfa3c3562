"""Computes scores of the sample photographs with PyTorch and the reference's formulas, on a small random CLIP.

    python tools/public_goldens.py tests/public_goldens.json

The weights are drawn from the names of transformers' parameters, so nothing but the numbers is stored. The image
encoder, the text encoder, the choice of crops and the head are PyTorch's and the reference's (zwx8981/LIQE at a64655f,
ImageDataset2.py:84-97 and LIQE.py:81-107); the tokens are this package's, and
tests compare them with the reference's.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel

from liqe_jax.taxonomy import DISTORTION, QUALITY, SCENE
from liqe_jax.text.tokenizer import Tokenizer

SAMPLES = Path(__file__).parent.parent / "samples"

# Photographs that the reference neither enlarges nor shrinks.
NAMES = ("cat.jpg", "cat_blur.jpg", "coffee.jpg", "coffee_jpeg8.jpg")

CROP, STRIDE, CROPS = 224, 32, 15
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's


def random_clip() -> CLIPModel:
    """A small CLIP with CLIP's input size and vocabulary; the same weights on every machine."""
    tower = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "quick_gelu"}
    vision = {**tower, "intermediate_size": 96, "image_size": CROP, "patch_size": 32}
    text = {**tower, "intermediate_size": 64, "eos_token_id": 49407, "bos_token_id": 49406}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = np.random.default_rng(zlib.crc32(name.encode())).normal(0, 0.08, tuple(parameter.shape))
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            value = math.log(20) if name == "logit_scale" else centre + noise
            parameter.copy_(torch.from_numpy(np.asarray(value, np.float32)))
    return model


def crops_of(path: Path) -> torch.Tensor:
    """Fifteen crops, as the reference's tests take them, [15, 3, 224, 224]."""
    with Image.open(path) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
    pixels = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    crops = pixels.unfold(1, CROP, STRIDE).unfold(2, CROP, STRIDE).permute(1, 2, 0, 3, 4).reshape(-1, 3, CROP, CROP)
    return crops[torch.arange(CROPS) * (len(crops) // CROPS)]


@torch.no_grad()
def scores() -> dict[str, dict]:
    """Quality and distributions of each photograph."""
    model = random_clip()
    prompts = [
        f"a photo of a {scene} with {distortion} artifacts, which is of {quality} quality"
        for quality in QUALITY.labels
        for scene in SCENE.labels
        for distortion in DISTORTION.labels
    ]
    ids = torch.from_numpy(Tokenizer.default()(prompts)).long()
    text = model.text_projection(model.text_model(ids).pooler_output)
    text = text / text.norm(dim=1, keepdim=True)
    result = {}
    for name in NAMES:
        image = model.visual_projection(model.vision_model(crops_of(SAMPLES / name)).pooler_output)
        image = image / image.norm(dim=1, keepdim=True)
        logits = (model.logit_scale.exp() * image @ text.t()).mean(0)
        joint = torch.softmax(logits, 0).view(len(QUALITY.labels), len(SCENE.labels), len(DISTORTION.labels))
        quality, scene, distortion = joint.sum((1, 2)), joint.sum((0, 2)), joint.sum((0, 1))
        result[name] = {
            "quality": float((quality * torch.arange(1, 6)).sum()),
            "quality_probs": quality.tolist(),
            "scene_probs": scene.tolist(),
            "distortion_probs": distortion.tolist(),
            "logits": logits[::45].tolist(),
        }
    return result


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(scores(), indent=1) + "\n", "utf-8")
