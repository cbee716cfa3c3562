"""The README's picture: sample photographs, their scores, and maps of quality over them.

``python tools/result_figure.py docs/images/result.png`` writes it.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import liqe_jax
from liqe_jax.scoring.heatmap import render
from liqe_jax.scoring.shown import shown_label

SAMPLES = Path(__file__).parents[1] / "samples"
HEIGHT = 300  # of each panel, pixels


def half_blurred() -> Image.Image:
    """A photograph whose right half is out of focus: a map shows what one number cannot."""
    from PIL import ImageFilter

    sharp = Image.open(SAMPLES / "coffee.jpg").convert("RGB")
    blurred = sharp.filter(ImageFilter.GaussianBlur(4))
    ramp = np.clip((np.arange(sharp.width) / sharp.width - 0.5) * 8, 0, 1) * 255
    mask = Image.fromarray(np.tile(ramp.astype(np.uint8), (sharp.height, 1)))
    return Image.composite(blurred, sharp, mask)


def main() -> None:
    """Writes the picture."""
    model = liqe_jax.load()
    pictures = {
        "coffee.jpg": Image.open(SAMPLES / "coffee.jpg").convert("RGB"),
        "coffee_jpeg8.jpg": Image.open(SAMPLES / "coffee_jpeg8.jpg").convert("RGB"),
        "half out of focus": half_blurred(),
    }
    panels = []
    for name, picture in pictures.items():
        score = model.score(picture)
        quality_map = model.quality_map(picture)
        distortion = shown_label(score.to_dict(), "distortion", model.tasks.attributes)
        panel = render(quality_map, f"{name}: {score.quality:.2f}, {distortion.replace('none', 'no distortion')}")
        panels.append(panel.resize((round(panel.width * HEIGHT / panel.height), HEIGHT), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (sum(p.width for p in panels) + 12 * (len(panels) - 1), HEIGHT), "white")
    left = 0
    for panel in panels:
        sheet.paste(panel, (left, 0))
        left += panel.width + 12
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, optimize=True)


if __name__ == "__main__":
    main()
