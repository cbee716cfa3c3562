"""The heading of the page: the model, its strengths and limits, the treatment of uploads."""

from __future__ import annotations

import html

import jax

from liqe_jax.scoring.model import Model

# Model name -> its limits, as a short and a long HTML text.
ADVICE = {
    "liqe_nano": (
        "a small model",
        "<b>liqe_nano</b> comes with the package. It was trained on 1,162 photographs with MOS (LIVE In the Wild) and "
        "on synthetic distortions of free photographs. <code>liqe app --model liqe_mix</code> uses LIQE's released "
        "weights instead: a larger model, trained on six data sets with MOS, downloaded once from the Hugging Face "
        "hub, under its own licence.",
    ),
}


def heading(model: Model, preset: str, max_megabytes: float) -> str:
    """The heading of the page, HTML.

    Args:
      model: the model of the page.
      preset: name of its preset.
      max_megabytes: size limit of an upload.
    """
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model.params))
    short, long = ADVICE.get(model.name, ("", ""))
    facts = [f"<b>{html.escape(model.name)}</b>", *([short] if short else []), f"{_count(parameters)} parameters"]
    more = [long] if long else []
    if model.provenance.licence != "unknown":
        more.append(f"Licence of the weights: {html.escape(model.provenance.licence)}")
    more.append(f"Crops are chosen by the preset '{html.escape(preset)}'.")
    paragraphs = "".join(f"<p>{text}</p>" for text in more)
    return f"""<div class="lq"><h1>How good is this photograph?</h1>
<p>LIQE predicts the quality of a photograph from 1 (bad) to 5 (perfect), its scene and its distortion, without a
reference image.</p>
<details class="quiet"><summary>Model: {", ".join(facts)}</summary>{paragraphs}</details>
<p class="quiet">Up to {max_megabytes:g} MB each. A photograph is deleted from the server's disk before it is scored,
and nothing of it is stored: the results are in your browser only.</p></div>"""


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{number:,}"
