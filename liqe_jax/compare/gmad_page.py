"""gMAD pairs for raters: side-by-side pictures, and a page with buttons that saves their ratings."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

from PIL import Image

from liqe_jax.compare.gmad import ROLES, Competition, Pair
from liqe_jax.errors import ImageError
from liqe_jax.images.decode import decode_upright
from liqe_jax.markup import data_url, escaped, fill_page, html_table

PICTURE_SIDE = 1024  # longest side of an image in a pair's picture, pixels
THUMBNAIL_SIDE = 560  # longest side of an image on the page, pixels
GAP = 16  # pixels between the two

# Five answers with strengths 1, 0.5, 0, 0.5 and 1. Our choice; the paper asks for a degree of certainty.
CHOICES = (
    ("left", 1.0, "left clearly better"),
    ("left", 0.5, "left slightly better"),
    ("same", 1.0, "same"),
    ("right", 0.5, "right slightly better"),
    ("right", 1.0, "right clearly better"),
)


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Places two images next to each other on white."""
    height = max(left.height, right.height)
    canvas = Image.new("RGB", (left.width + GAP + right.width, height), "white")
    canvas.paste(left, (0, (height - left.height) // 2))
    canvas.paste(right, (left.width + GAP, (height - right.height) // 2))
    return canvas


def write_pictures(competition: Competition, folder: str | os.PathLike, destination: Path) -> None:
    """Writes one JPEG per pair to `destination`, named by the pair's id, and removes those of earlier runs."""
    destination.mkdir(parents=True, exist_ok=True)
    for role in ROLES:
        for old in destination.glob(f"{role}-defends-*.jpg"):
            old.unlink()
    for pair in competition.pairs:
        left, right = (_open(competition, index, folder, PICTURE_SIDE) for index in (pair.left, pair.right))
        side_by_side(left, right).save(destination / f"{pair.id}.jpg", quality=92)


def page(competition: Competition, folder: str | os.PathLike, labels: tuple[str, str], summary_html: str = "") -> str:
    """A self-contained HTML page with the pairs, buttons to rate them, and a button that saves ranking.csv.

    Scores and roles are hidden at first, so that raters are blind. `labels` are the names of the scorers, and
    `summary_html` is placed above the pairs, unescaped. Raises ImageError if an image of `folder` cannot be decoded.
    """
    pairs = [
        {"pair": p.id, "left": competition.names[p.left], "right": competition.names[p.right]}
        for p in competition.pairs
    ]
    left_out = ""
    if competition.left_out:
        items = "".join(f"<li>{escaped(name)}</li>" for name in competition.left_out)
        left_out = f"<details><summary>{len(competition.left_out)} images left out</summary><ul>{items}</ul></details>"
    return fill_page(
        "gmad.html",
        title=f"gMAD: {escaped(labels[0])} and {escaped(labels[1])}",
        summary=summary_html,
        left_out=left_out,
        sections="\n".join(_section(competition, pair, folder, labels) for pair in competition.pairs),
        # "</script>" in a file name must not end the script.
        pairs=json.dumps(pairs).replace("<", "\\u003c"),
    )


def _section(competition: Competition, pair: Pair, folder: str | os.PathLike, labels: tuple[str, str]) -> str:
    sides = (("left", pair.left), ("right", pair.right))
    figures = "".join(
        f'<figure><img alt="{side} image of {pair.id}" '
        f'src="{_inline(_open(competition, index, folder, THUMBNAIL_SIDE))}">'
        f"<figcaption>{side}</figcaption></figure>"
        for side, index in sides
    )
    choices = "".join(
        f'<label><input type="radio" name="{pair.id}" value="{side} {strength:g}"> {text}</label>'
        for side, strength, text in CHOICES
    )
    rows = [
        (f"{side}: {competition.names[index]}", *(f"{score:.4g}" for score in competition.scores[:, index]))
        for side, index in sides
    ]
    chosen, preferred = pair.level_set, "left" if pair.better_is_left else "right"
    return f"""<section id="{pair.id}"><h2>{pair.id.split("-")[0]} defends, level {pair.level}</h2>
<div class="pair">{figures}</div><fieldset>{choices}</fieldset>
<details><summary>scores</summary>
<p>{escaped(labels[pair.defender])} defends: {len(chosen.members)} images within {chosen.center:.4g} &plusmn;
{chosen.tolerance:.3g}. {escaped(labels[pair.attacker])} attacks and prefers the {preferred} image.</p>
{html_table(("", *labels), rows)}</details></section>"""


def _open(competition: Competition, index: int, folder: str | os.PathLike, side: int) -> Image.Image:
    name = competition.names[index]
    try:
        return Image.fromarray(decode_upright(os.path.join(folder, name), side))
    except ImageError as error:
        raise ImageError(f"{name} has a score but cannot be decoded: {error}") from error


def _inline(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return data_url("image/jpeg", buffer.getvalue())
