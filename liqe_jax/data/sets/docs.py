"""Generates the pages about the data sets: `python -m liqe_jax.data.sets.docs docs/datasets`."""

from __future__ import annotations

import sys
from pathlib import Path

from liqe_jax.data.sets import SPECS
from liqe_jax.data.sets.spec import DataSetSpec
from liqe_jax.errors import UsageError

INTRODUCTION = """\
# Data sets

Most data sets must be requested or downloaded by hand. Unpack one into a folder of its own and run `liqe data prepare`
(`pip install '.[data]'`). Official layouts and those of common mirrors are found in any sub-folder, ignoring case.

Scenes, distortions and ten random splits ("sessions") of six sets come from LIQE's label files: give a checkout of
github.com/zwx8981/LIQE with `--labels`, or put it below the manual directory. Without them, MOS come from the official
label files alone.

Images whose sides are both larger than 768 pixels are downscaled once, to a short side of 768, by the filter of the
reference, and stored as PNG. All other images keep their bytes, except for formats that not every decoder reads (WebP,
TIFF, palettes, alpha channels), which become PNG. EXIF orientation is not applied, as in the reference.

Every image is decoded. If images are missing or corrupt, they are listed and nothing is written, unless
`--allow-missing` excludes them. After an interruption, the same command continues where it stopped. `liqe data verify`
reads all images again and compares hashes; `liqe data preview` writes a sheet of images with their labels.

| name | images | MOS | scenes, distortions, ten sessions |
|---|---|---|---|
"""


def page(spec: DataSetSpec) -> str:
    """The page of one data set as Markdown."""
    labels = f"IQA_Database/{spec.liqe_folder}/splits2" if spec.liqe_folder else ""
    command = f"liqe data prepare {spec.slug} --manual-dir D --data-dir O {spec.command}".rstrip()
    facts = [
        f"- Images: {spec.count:,}." if spec.count is not None else "",
        f"- Source: {spec.url}" if spec.url else "",
        f"- Licence: {spec.licence}",
        f"- MOS: {spec.score}" + (f" Range {_range(spec)}." if spec.count is not None else ""),
        f"- LIQE: {spec.liqe}" + (f" SetLabels: `{labels}`." if labels else ""),
    ]
    return "\n".join(
        [
            f"# {spec.name}",
            "",
            f"{spec.title}.",
            "",
            *filter(None, facts),
            "",
            "Layout:",
            "",
            "```",
            spec.tree,
            "```",
            "",
            "```bash",
            command,
            f"liqe data verify {spec.slug} --data-dir O",
            "```",
            "",
            *[f"- {quirk}" for quirk in spec.quirks],
            "",
        ]
    )


def _range(spec: DataSetSpec) -> str:
    return f"{spec.mos_range[0]:g} to {spec.mos_range[1]:g}"


def index() -> str:
    """The page that lists all data sets."""
    rows = []
    for spec in SPECS.values():
        count = "any" if spec.count is None else f"{spec.count:,}"
        scores = "any" if spec.count is None else _range(spec)
        labels = "yes" if spec.liqe_folder else ""
        rows.append(f"| [{spec.name}]({spec.slug}.md) | {count} | {scores} | {labels} |\n")
    return INTRODUCTION + "".join(rows)


def pages() -> dict[str, str]:
    """File name -> content of everything in docs/datasets."""
    return {"index.md": index(), **{f"{spec.slug}.md": page(spec) for spec in SPECS.values()}}


def write_pages(folder: Path) -> None:
    """Writes all pages into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in pages().items():
        (folder / name).write_text(content, "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise UsageError("Expected the folder to write to: python -m liqe_jax.data.sets.docs docs/datasets")
    write_pages(Path(sys.argv[1]))
