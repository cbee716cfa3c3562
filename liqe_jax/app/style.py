"""The page's style sheet; colours are Gradio's variables, so that dark pages work too."""

STYLE = """
.gradio-container { max-width: 68rem !important; margin: 0 auto !important; }
.lq { --quiet: color-mix(in srgb, var(--body-text-color) 66%, transparent);
  color: var(--body-text-color); font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.lq summary { cursor: pointer; }
.lq h1 { font-size: 1.5rem; font-weight: 600; margin: .4rem 0 .2rem; }
.lq p { margin: .35rem 0; max-width: 46rem; line-height: 1.5; }
.lq h3 { font-size: .82rem; font-weight: 600; color: var(--quiet); margin: 0 0 .35rem; }
.lq a { color: var(--link-text-color); text-decoration: underline; }
.lq code { font-family: var(--font-mono); font-size: .9em; background: var(--background-fill-secondary);
  padding: .1em .3em; border-radius: 3px; }
.lq figure { margin: 0; min-width: 0; }
.lq figcaption, .lq .quiet { color: var(--quiet); font-size: .82rem; }
.lq img { display: block; max-width: 100%; height: auto; border-radius: 3px; }

/* One row a photograph: a radio button that is not seen, its label, and what it shows when it is picked. */
.rows { gap: 0 !important; }
.rows .html-container { padding: 0 12px !important; }
.rows > .block:not(:has(.lq)) { display: none; }
.photo { border-bottom: 1px solid var(--border-color-primary); }
.photo > input { position: absolute; opacity: 0; pointer-events: none; }
.photo > label { display: grid; align-items: center; gap: .2rem 1rem; padding: .55rem .3rem; cursor: pointer;
  grid-template-columns: 4rem minmax(0, 1fr) 9rem minmax(0, 15rem);
  grid-template-areas: "thumb name score found" "thumb notes notes notes"; }
.photo > label:hover, .photo > input:checked + label { background: var(--background-fill-secondary); }
.photo > input:focus-visible + label { outline: 2px solid var(--color-accent); outline-offset: -2px; }
.photo .thumb { grid-area: thumb; width: 4rem; height: 3rem; object-fit: cover; }
.photo .name { grid-area: name; font-weight: 500; }
.photo .score { grid-area: score; }
.photo .found { grid-area: found; }
.found { display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .9rem; }
.found span { flex: 1 1 0; min-width: 6.2rem; } .found small { display: block; color: var(--quiet); font-size: .78rem; }
.photo .notes { grid-area: notes; margin: 0; padding: 0; list-style: none; font-size: .82rem;
  color: var(--quiet); }
.photo .body { display: none; padding: .6rem .3rem 1.4rem; }
.photo > input:checked ~ .body { display: block; }
.failed { padding: .7rem .3rem; border-bottom: 1px solid var(--border-color-primary); }
.failed strong { font-weight: 500; } .failed p { color: var(--error-text-color); font-size: .9rem; margin: .15rem 0 0; }

.number { font-size: 1.25rem; font-weight: 600; }
.number.large { font-size: 2.2rem; line-height: 1.2; }
.scale { position: relative; height: 6px; margin: .35rem 0 .2rem; border-radius: 3px; }
.scale i { position: absolute; top: -3px; width: 4px; height: 12px; margin-left: -2px; border-radius: 2px;
  background: var(--body-text-color); box-shadow: 0 0 0 1.5px var(--background-fill-primary); }

.pictures { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; align-items: start; margin-bottom: 1.1rem; }
.pictures img { width: 100%; max-height: 30rem; object-fit: contain; object-position: left top; }
.charts { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 1.2rem 2rem; }
.chart { display: grid; grid-template-columns: minmax(0, 8.6rem) minmax(2rem, 1fr) 3.3rem; gap: .22rem .6rem;
  align-items: center; font-size: .85rem; margin: 0; }
.chart dt { margin: 0; } .chart dd { margin: 0; text-align: right; white-space: nowrap; }
.chart dd.bars { display: grid; gap: 2px; }
.chart .likeliest { font-weight: 600; }
.bar { height: 9px; border-radius: 2px; background: #2c7bb6; min-width: 1px; }
.bar.b { background: #d98a1f; }
.key { display: inline-block; width: .75rem; height: .75rem; border-radius: 2px; margin-right: .35rem;
  background: #2c7bb6; vertical-align: -.06rem; }
.key.b { background: #d98a1f; }
.legend { display: block; white-space: nowrap; }
.legend span { display: inline-block; width: 4.5rem; height: 6px; border-radius: 3px; vertical-align: .08rem; }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; }
.card img { width: 100%; }
.card { display: grid; gap: .7rem; }
.difference { border-top: 1px solid var(--border-color-primary); margin-top: .4rem; padding-top: .9rem; }
.difference > p { font-size: 1.05rem; margin-bottom: 1rem; }

@media (max-width: 46rem) {
  .photo > label { grid-template-columns: 3.4rem minmax(0, 1fr) 5rem; gap: .3rem .7rem;
    grid-template-areas: "thumb name score" "thumb found found" "notes notes notes"; }
  .photo .thumb { width: 3.4rem; height: 3.4rem; }
  .found small { display: inline; } .found span { flex: 0 1 auto; min-width: 0; }
  .gradio-container main.app { padding-left: .6rem; padding-right: .6rem; }
  .html-container, .rows .html-container { padding-left: .2rem !important; padding-right: .2rem !important; }
  .pictures, .charts { grid-template-columns: minmax(0, 1fr); }
  .pictures img { max-height: none; }
}
"""
