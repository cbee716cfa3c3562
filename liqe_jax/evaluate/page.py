"""The report of an evaluation: one self-contained HTML page with all tables and plots."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from liqe_jax.evaluate.table import Table

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1.2rem; color: #1b1b1b; }
h1 { margin-bottom: .2rem; } h2 { margin: 2.4rem 0 .6rem; font-size: 1.25rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; font-size: .92rem; padding: .7rem 0; margin-top: 1rem;
  border-top: 1px solid #ddd; border-bottom: 1px solid #ddd; }
a { color: #0062a3; text-decoration: none; } a:hover { text-decoration: underline; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
td, th { padding: .22rem .6rem; text-align: right; border-bottom: 1px solid #e6e6e6; white-space: nowrap; }
th { border-bottom: 1px solid #999; font-weight: 600; white-space: normal; }
tbody tr:hover { background: #f5f8fb; }
td.text, th.text, td:first-child, th:first-child { text-align: left; }
.note { color: #555; font-size: .88rem; margin: .4rem 0; max-width: 60rem; }
.warning { background: #fff3d6; border-left: 4px solid #e69f00; padding: .6rem 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; font-size: .92rem; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: 1.2rem; }
.matrices { display: grid; grid-template-columns: repeat(auto-fill, minmax(36rem, 1fr)); gap: 1.2rem; }
.matrices img { max-height: 36rem; }
figure { margin: 0; } img { max-width: 100%; height: auto; }
summary { cursor: pointer; } pre { font-size: .82rem; overflow-x: auto; background: #f6f6f6; padding: .8rem; }
@media print { nav { display: none; } body { max-width: none; } .wide { overflow: visible; } }
"""


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
    navigation = "".join(f'<a href="#{name}">{html.escape(text)}</a>' for name, text in links)
    described = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in facts.items())
    warned = "".join(f'<p class="warning">{html.escape(text)}</p>' for text in warnings)
    plain = html.escape(json.dumps(settings, indent=2, ensure_ascii=False))
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
<h1>{html.escape(title)}</h1>
<dl>{described}</dl>
{warned}
<nav>{navigation}</nav>
{"".join(table.html() for table in tables[:-1])}
{_pictures("scatters", "Scatter plots", "pictures", scatters)}
{_pictures("matrices", "Confusion matrices", "matrices", matrices)}
{tables[-1].html()}
<h2>Settings</h2><details><summary>as JSON</summary><pre>{plain}</pre></details>
</html>
"""


def _pictures(name: str, title: str, kind: str, pictures: Mapping[str, bytes]) -> str:
    if not pictures:
        return ""
    figures = "".join(
        f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        "</figure>"
        for caption, png in pictures.items()
    )
    return f'<section id="{name}"><h2>{title}</h2><div class="{kind}">{figures}</div></section>'
