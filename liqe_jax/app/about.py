"""What the page says of itself: which model judges, what it is good for, what happens to uploads."""

from __future__ import annotations

import html

import jax

from liqe_jax.scoring.model import Model

# What a visitor should know of a model before believing it, by its name: in short, and more of it; HTML.
ADVICE = {
    "liqe_nano": (
        "a small model, which knows synthetic distortions best",
        "<b>liqe_nano</b> comes with the package. It was trained from nothing, on synthetic distortions (blur, noise, "
        "compression and their like) of fewer than two hundred photographs. It knows those distortions best, of what "
        "cameras and weather do to photographs it knows less, and its scenes are guesses. "
        "<code>liqe app --model liqe_mix</code> takes LIQE's own weights instead: larger, trained on six data sets "
        "that people judged, fetched once from the Hugging Face hub, under a licence of their own.",
    ),
}


def heading(model: Model, preset: str, max_megabytes: float) -> str:
    """The top of the page, HTML.

    Args:
      model: what judges.
      preset: the name of how it chooses patches.
      max_megabytes: of an upload.
    """
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model.params))
    short, long = ADVICE.get(model.name, ("", ""))
    facts = [f"<b>{html.escape(model.name)}</b>", *([short] if short else []), f"{_count(parameters)} parameters"]
    more = [long] if long else []
    if model.provenance.licence != "unknown":
        more.append(f"Licence of the weights: {html.escape(model.provenance.licence)}")
    more.append(f"Patches are chosen as the preset '{html.escape(preset)}' does.")
    paragraphs = "".join(f"<p>{text}</p>" for text in more)
    return f"""<div class="lq"><h1>How good is this photograph?</h1>
<p>LIQE judges a photograph by itself: its quality from 1 (bad) to 5 (perfect), what it shows, what is wrong with
it.</p>
<details class="quiet"><summary>Model: {", ".join(facts)}</summary>{paragraphs}</details>
<p class="quiet">Up to {max_megabytes:g} MB each. A photograph is deleted from the server's disk before it is judged,
and nothing of it is kept: the results are in your browser only.</p></div>"""


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{number:,}"
