"""Judgements as HTML. Everything that comes from a file, a model or a visitor is escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from liqe_jax.app.judge import Judgement, Map
from liqe_jax.scoring.heatmap import colours_of
from liqe_jax.scoring.result import Failure

SIDES = ("A", "B")

Probabilities = Mapping[str, Mapping[str, float]]


def row(judgement: Judgement, number: int, drawn: Map | Failure | None) -> str:
    """A photograph's row, and what it shows when it is picked.

    Args:
      judgement: of the photograph.
      number: its place in the list; the first, 0, is picked from the beginning.
      drawn: its map, why there is none, or None where it is still being drawn.
    """
    name, checked = f"photograph-{number}", "" if number else " checked"
    notes = "".join(f"<li>{_text(note)}</li>" for note in judgement.warnings)
    scores = "".join(f'<span class="number">{value:.2f}</span>{scale}' for value, scale in _numbers(judgement))
    width, height = judgement.size
    photo = _figure("picture", judgement.name, judgement.picture, f"{width} x {height} pixels")
    return f"""<div class="lq photo"><input type="radio" name="photograph" id="{name}"{checked}>
<label for="{name}"><img class="thumb" alt="" src="{_inline(judgement.thumbnail)}">
<span class="name">{_text(judgement.name)}</span><span class="score">{scores}</span>{_found(judgement)}
{f'<ul class="notes">{notes}</ul>' if notes else ""}</label>
<div class="body"><div class="pictures">{photo}{_map(judgement.name, drawn)}</div>
<div class="charts">{charts((judgement.probabilities,))}</div></div></div>"""


def failed(failure: Failure) -> str:
    """A photograph that could not be judged, and why."""
    return f'<div class="lq failed"><strong>{_text(failure.image)}</strong><p>{_text(failure.error)}</p></div>'


def card(judgement: Judgement, side: int, drawn: Map | Failure | None) -> str:
    """One of two photographs that are compared: pictures, name, values."""
    values = "".join(f'<div class="number large">{value:.2f}</div>{scale}' for value, scale in _numbers(judgement))
    notes = "".join(f'<p class="quiet">{_text(note)}</p>' for note in judgement.warnings)
    return f"""<div class="lq card"><div><h3>{_key(side)}{_text(judgement.name)}</h3>{values}{_found(judgement)}
{notes}</div>{_figure("picture", judgement.name, judgement.picture)}{_map(judgement.name, drawn)}</div>"""


def difference(
    names: Sequence[str], values: Sequence[Mapping[str, float]], probabilities: Sequence[Probabilities]
) -> str:
    """What tells two photographs apart: the difference of their values, and their distributions side by side."""
    sentences = []
    for attribute in values[0]:
        a, b = (side[attribute] for side in values)
        if round(a, 2) == round(b, 2):
            sentences.append(f"The same {_text(attribute)}, {a:.2f}.")
        else:
            # Of the numbers as they are shown, so that a reader finds the same difference.
            gap = abs(round(a, 2) - round(b, 2))
            sentences.append(f"{_text(attribute).capitalize()}: {SIDES[b > a]} is higher by <b>{gap:.2f}</b>.")
    keys = "".join(f"<span>{_key(side)}{_text(name)}</span>" for side, name in enumerate(names))
    return f"""<div class="lq difference"><p>{" ".join(sentences)}</p>
<p class="quiet keys">{keys}</p><div class="charts">{charts(probabilities)}</div></div>"""


def charts(probabilities: Sequence[Probabilities]) -> str:
    """The distributions of every attribute as bars; of two photographs, two bars a label."""
    return "".join(_chart(name, [side[name] for side in probabilities]) for name in probabilities[0])


def status(text: str) -> str:
    """A line that says what is going on; screen readers read it aloud."""
    return f'<p class="lq quiet" role="status">{_text(text)}</p>' if text else ""


def _chart(name: str, sides: Sequence[Mapping[str, float]]) -> str:
    likeliest = [max(side, key=side.__getitem__) for side in sides]
    rows = []
    for label in sides[0]:
        bars = "".join(
            f'<div class="bar{" b" * number}" style="width:{100 * side[label]:.2f}%"></div>'
            for number, side in enumerate(sides)
        )
        shares = "".join(
            f"<div{_strong(label == best)}>{side[label]:.1%}</div>" for side, best in zip(sides, likeliest, strict=True)
        )
        term = f"<dt{_strong(label in likeliest)}>{_label(label)}</dt>"
        rows.append(f'{term}<dd class="bars">{bars}</dd><dd>{shares}</dd>')
    return f'<section><h3>{_text(name)}</h3><dl class="chart">{"".join(rows)}</dl></section>'


def _strong(wanted: bool) -> str:
    return ' class="likeliest"' if wanted else ""


def _map(name: str, drawn: Map | Failure | None) -> str:
    if drawn is None:
        return '<p class="quiet">Drawing the map of quality ...</p>'
    if isinstance(drawn, Failure):
        return f'<p class="quiet">{_text(drawn.error)}</p>'
    figures = f"least {drawn.least:.2f}, mean {drawn.mean:.2f}, greatest {drawn.greatest:.2f}"
    legend = f'<span class="legend">1 <span style="{_colours()}"></span> 5</span>'
    return _figure("map", f"Map of quality of {name}", drawn.picture, f"Quality of its patches: {figures} {legend}")


def _figure(kind: str, alt: str, picture: bytes, caption: str = "") -> str:
    """A picture with a caption, which is HTML."""
    under = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><img class="{kind}" alt="{_text(alt)}" src="{_inline(picture)}">{under}</figure>'


def _found(judgement: Judgement) -> str:
    """The likeliest labels, each with the name of its attribute."""
    labels = {name: value for name, value in judgement.values.items() if isinstance(value, str)}
    spans = "".join(f"<span><small>{_text(name)}</small> {_label(value)}</span>" for name, value in labels.items())
    return f'<span class="found">{spans}</span>'


def _numbers(judgement: Judgement) -> Iterator[tuple[float, str]]:
    """Expected values, each with a bar from the least to the greatest possible one and a mark where it lies."""
    for name, value in judgement.values.items():
        if isinstance(value, float):
            low, high = judgement.ranges[name]
            share = (value - low) / (high - low) if high > low else 0.5
            yield value, f'<div class="scale" style="{_colours()}"><i style="left:{100 * share:.1f}%"></i></div>'


def _colours() -> str:
    stops = ",".join("rgb({:.0f} {:.0f} {:.0f})".format(*colours_of(np.asarray(level))) for level in range(1, 6))
    return f"background:linear-gradient(90deg,{stops})"


def _key(side: int) -> str:
    return f'<i class="key{" b" * side}"></i>{SIDES[side]} &middot; '


def _inline(picture: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(picture).decode()


def _label(label: str) -> str:
    return _text(label.replace("_", " "))  # still_life


def _text(text: str) -> str:
    """Any text as HTML; surrogates (names that are no UTF-8) become question marks."""
    return html.escape(text.encode("utf-8", "replace").decode())
