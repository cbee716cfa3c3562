"""The report of an evaluation: one self-contained HTML page with all tables and plots."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from liqe_jax.evaluate.table import Table
from liqe_jax.markup import fill_page


def page(
    title: str,
    facts: Mapping[str, str],
    warnings: Sequence[str],
    tables: Sequence[Table],
    scatters: Mapping[str, bytes],
    matrices: Mapping[str, bytes],
    settings: Mapping[str, Any],
) -> str:
    """Writes the page as HTML.

    Args:
      title: heading.
      facts: description of the models and settings, shown as name and value.
      warnings: messages shown at the top.
      tables: in order; the last one comes after the plots.
      scatters, matrices: caption -> PNG.
      settings: settings of the run, shown at the end.
    """
    links = [(table.name, table.title) for table in tables]
    links += [("scatters", "Scatter plots")] if scatters else []
    links += [("matrices", "Confusion matrices")] if matrices else []
    return fill_page(
        "evaluation.html",
        title=html.escape(title),
        facts="".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in facts.items()),
        warnings="".join(f'<p class="warning">{html.escape(text)}</p>' for text in warnings),
        navigation="".join(f'<a href="#{name}">{html.escape(text)}</a>' for name, text in links),
        tables="".join(table.html() for table in tables[:-1]),
        scatters=_pictures("scatters", "Scatter plots", "pictures", scatters),
        matrices=_pictures("matrices", "Confusion matrices", "matrices", matrices),
        last_table=tables[-1].html(),
        settings=html.escape(json.dumps(settings, indent=2, ensure_ascii=False)),
    )


def _pictures(name: str, title: str, kind: str, pictures: Mapping[str, bytes]) -> str:
    if not pictures:
        return ""
    figures = "".join(
        f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        "</figure>"
        for caption, png in pictures.items()
    )
    return f'<section id="{name}"><h2>{title}</h2><div class="{kind}">{figures}</div></section>'
