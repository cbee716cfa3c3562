"""Scored photographs as HTML. All text from files, models and visitors is escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from liqe_jax.app.photograph import Map, ScoredPhotograph
from liqe_jax.scoring.heatmap import colours_of
from liqe_jax.scoring.result import Failure

SIDES = ("A", "B")

Probabilities = Mapping[str, Mapping[str, float]]


def row(scored: ScoredPhotograph, number: int, drawn: Map | Failure | None) -> str:
    """The row of a photograph, with the details that are shown when it is selected.

    Args:
      scored: the photograph.
      number: position in the list; the first, 0, is selected at the beginning.
      drawn: its map, the reason why there is none, or None while it is being drawn.
    """
    name, checked = f"photograph-{number}", "" if number else " checked"
    notes = "".join(f"<li>{_text(note)}</li>" for note in scored.warnings)
    scores = "".join(f'<span class="number">{value:.2f}</span>{scale}' for value, scale in _numbers(scored))
    width, height = scored.size
    photo = _figure("picture", scored.name, scored.picture, f"{width} x {height} pixels")
    return f"""<div class="lq photo"><input type="radio" name="photograph" id="{name}"{checked}>
<label for="{name}"><img class="thumb" alt="" src="{_inline(scored.thumbnail)}">
<span class="name">{_text(scored.name)}</span><span class="score">{scores}</span>{_found(scored)}
{f'<ul class="notes">{notes}</ul>' if notes else ""}</label>
<div class="body"><div class="pictures">{photo}{_map(scored.name, drawn)}</div>
<div class="charts">{charts((scored.probabilities,))}</div></div></div>"""


def failed(failure: Failure) -> str:
    """A photograph that could not be scored, with the error."""
    return f'<div class="lq failed"><strong>{_text(failure.image)}</strong><p>{_text(failure.error)}</p></div>'


def card(scored: ScoredPhotograph, side: int, drawn: Map | Failure | None) -> str:
    """The card of one of two compared photographs: pictures, name, values."""
    values = "".join(f'<div class="number large">{value:.2f}</div>{scale}' for value, scale in _numbers(scored))
    notes = "".join(f'<p class="quiet">{_text(note)}</p>' for note in scored.warnings)
    return f"""<div class="lq card"><div><h3>{_key(side)}{_text(scored.name)}</h3>{values}{_found(scored)}
{notes}</div>{_figure("picture", scored.name, scored.picture)}{_map(scored.name, drawn)}</div>"""


def difference(
    names: Sequence[str], values: Sequence[Mapping[str, float]], probabilities: Sequence[Probabilities]
) -> str:
    """The difference of the values of two photographs, and their distributions side by side."""
    sentences = []
    for attribute in values[0]:
        a, b = (side[attribute] for side in values)
        if round(a, 2) == round(b, 2):
            sentences.append(f"The same {_text(attribute)}, {a:.2f}.")
        else:
            # Computed from the rounded values, so that it matches the values shown.
            gap = abs(round(a, 2) - round(b, 2))
            sentences.append(f"{_text(attribute).capitalize()}: {SIDES[b > a]} is higher by <b>{gap:.2f}</b>.")
    keys = "".join(f"<span>{_key(side)}{_text(name)}</span>" for side, name in enumerate(names))
    return f"""<div class="lq difference"><p>{" ".join(sentences)}</p>
<p class="quiet keys">{keys}</p><div class="charts">{charts(probabilities)}</div></div>"""


def charts(probabilities: Sequence[Probabilities]) -> str:
    """The distributions of all attributes as bars; two bars per label for two photographs."""
    return "".join(_chart(name, [side[name] for side in probabilities]) for name in probabilities[0])


def status(text: str) -> str:
    """A status line; screen readers announce it."""
    return f'<p class="lq quiet" role="status">{_text(text)}</p>' if text else ""


def _chart(name: str, sides: Sequence[Mapping[str, float]]) -> str:
    best_of = [max(side, key=side.__getitem__) for side in sides]
    rows = []
    for label in sides[0]:
        bars = "".join(
            f'<div class="bar{" b" * number}" style="width:{100 * side[label]:.2f}%"></div>'
            for number, side in enumerate(sides)
        )
        shares = "".join(
            f"<div{_strong(label == best)}>{side[label]:.1%}</div>" for side, best in zip(sides, best_of, strict=True)
        )
        term = f"<dt{_strong(label in best_of)}>{_label(label)}</dt>"
        rows.append(f'{term}<dd class="bars">{bars}</dd><dd>{shares}</dd>')
    return f'<section><h3>{_text(name)}</h3><dl class="chart">{"".join(rows)}</dl></section>'


def _strong(wanted: bool) -> str:
    return ' class="likeliest"' if wanted else ""


def _map(name: str, drawn: Map | Failure | None) -> str:
    if drawn is None:
        return '<p class="quiet">Drawing the quality map ...</p>'
    if isinstance(drawn, Failure):
        return f'<p class="quiet">{_text(drawn.error)}</p>'
    values = f"lowest {drawn.lowest:.2f}, mean {drawn.mean:.2f}, highest {drawn.highest:.2f}"
    legend = f'<span class="legend">1 <span style="{_colours()}"></span> 5</span>'
    return _figure("map", f"Quality map of {name}", drawn.picture, f"Quality of crops: {values} {legend}")


def _figure(kind: str, alt: str, picture: bytes, caption: str = "") -> str:
    """A picture with a caption in HTML."""
    under = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><img class="{kind}" alt="{_text(alt)}" src="{_inline(picture)}">{under}</figure>'


def _found(scored: ScoredPhotograph) -> str:
    """The most probable labels, each with the name of its attribute."""
    labels = {name: value for name, value in scored.values.items() if isinstance(value, str)}
    spans = "".join(f"<span><small>{_text(name)}</small> {_label(value)}</span>" for name, value in labels.items())
    return f'<span class="found">{spans}</span>'


def _numbers(scored: ScoredPhotograph) -> Iterator[tuple[float, str]]:
    """Expected values, each with a scale and a mark at the value."""
    for name, value in scored.values.items():
        if isinstance(value, float):
            low, high = scored.ranges[name]
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
    """Escapes text as HTML; surrogates (names that are not UTF-8) become question marks."""
    return html.escape(text.encode("utf-8", "replace").decode())
