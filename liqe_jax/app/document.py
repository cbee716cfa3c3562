"""An HTML document with its style sheet, script and data in it, so that it needs no other file."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from typing import Any

import jax

from liqe_jax.markup import fill_page, read_asset
from liqe_jax.messages import storable
from liqe_jax.scoring.heatmap import COLOURS
from liqe_jax.scoring.model import Model

# What a visitor should know about a model, HTML.
_ADVICE = {
    "liqe_nano": "<b>liqe_nano</b> is small and comes with the package. It was trained on 1,162 photographs with mean "
    "opinion scores (LIVE In the Wild) and on synthetic distortions of free photographs. "
    "<code>--model liqe_mix</code> uses LIQE's released weights instead: a larger model, trained on six data sets, "
    "downloaded once from the Hugging Face hub, under its own licence."
}


def document(title: str, body: str, scripts: tuple[str, ...], data: dict[str, Any]) -> tuple[str, str]:
    """The document, and a Content-Security-Policy that allows its own script and nothing from elsewhere.

    `body` is trusted HTML; `scripts` are files of `assets/page`, which find the data, trusted or not, as JSON.
    """
    script = "\n".join(read_asset(f"page/{name}") for name in scripts)
    colours = ",".join("rgb({:.0f} {:.0f} {:.0f})".format(*colour) for colour in COLOURS)
    # "</script>" and "<!--" would end or change the element.
    held = json.dumps(data).replace("<", "\\u003c")
    parts = {"title": html.escape(title), "colours": colours, "body": body, "data": held, "script": script}
    text = fill_page("page/document.html", style=read_asset("page/photographs.css"), **parts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
    return text, policy


def about(model: Model, preset: str) -> str:
    """The model in one line, with its limits and licence behind it, HTML."""
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model.params))
    count = f"{parameters / 1e6:.1f} million" if parameters >= 1e6 else f"{parameters:,}"
    more = [_ADVICE[model.name]] if model.name in _ADVICE else []
    if model.provenance.licence != "unknown":
        more.append(f"Licence of the weights: {html.escape(model.provenance.licence)}")
    more.append(f"Crops are chosen by the preset '{html.escape(preset)}'.")
    paragraphs = "".join(f"<p>{text}</p>" for text in more)
    name = html.escape(storable(model.name))
    return f"<details class=quiet><summary>Model: <b>{name}</b>, {count} parameters</summary>{paragraphs}</details>"
