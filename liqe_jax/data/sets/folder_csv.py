"""Your own folder of images with a CSV file of MOS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from liqe_jax.data.labelled import SPLITS
from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.spec import DataSetSpec, Option, Options, Row, SetLabels
from liqe_jax.data.tables import number, read_csv
from liqe_jax.errors import DataError, UsageError
from liqe_jax.messages import printable, quoted
from liqe_jax.taxonomy import CATEGORY_OF_RAW_DISTORTION, DISTORTION, SCENE

# The session of a column "split"; a column "split_<name>" has the session <name>.
SESSION = "own"

_COLUMNS = ("image", "mos", "distortion", "scenes", "reference", "split")

# The column distortion accepts LIQE's raw names and its categories.
CATEGORIES = {label: label for label in DISTORTION.labels}

OPTIONS = (
    Option("table", "the table, if there are several", parse=Path, metavar="CSV"),
    Option(
        "columns",
        "names of columns in your table where they differ, such as image='Image Name' mos=MOS",
        words="+",
        metavar="NAME=COLUMN",
    ),
    Option("mos_range", "lowest and highest possible MOS", parse=float, words=2, metavar=("LOW", "HIGH")),
)


def read(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Reads the table of an image folder."""
    path = _table(index, options)
    rows = []
    seen: dict[str, int] = {}
    for position, row in enumerate(_named(path, read_csv(path, ()), options["columns"] or ()), start=2):
        where = f"{path}, row {position}"
        name = row["image"].replace("\\", "/").removeprefix("./")
        if name in seen:
            raise DataError(f"{where}: {name} is in row {seen[name]} already. Keep one of them.")
        seen[name] = position
        mos, reference = number(row["mos"], where), row.get("reference", "")
        distortion, scenes = _distortion(row.get("distortion", ""), where), _scenes(row.get("scenes", ""), where)
        rows.append(Row(name, mos, distortion, scenes, reference, _splits(row, where)))
    if not rows:
        raise DataError(f"{path} has no rows below its header. It should have one for each image.")
    scores = [row.mos for row in rows]
    low, high = options["mos_range"] or (min(scores), max(scores))
    outside = [row for row in rows if not low <= row.mos <= high]
    if outside:
        raise DataError(
            f"{len(outside)} MOS are outside of --mos-range {low:g} {high:g}, for example {outside[0].mos:g} of "
            f"{outside[0].name}. Correct one or the other."
        )
    return SetLabels(rows, mos_range=(low, high))


def _named(path: Path, rows: list[dict[str, str]], given: Sequence[str]) -> list[dict[str, str]]:
    """Rows with our column names, which match in any case unless `given` ("mos=Mean Score") names them."""
    columns = list(rows[0]) if rows else []
    renamed = {name: name.lower() for name in columns if name.lower() in _COLUMNS and name.lower() not in columns}
    for pair in given:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise UsageError(f"--columns takes NAME=COLUMN, such as mos='Mean Score'; got {pair!r}.")
        renamed = {key: name for key, name in renamed.items() if name != ours} | {theirs: ours}
    lacking = [theirs for theirs in renamed if theirs not in columns]
    if rows:
        lacking += [name for name in ("image", "mos") if name not in {renamed.get(key, key) for key in columns}]
    if lacking:
        raise DataError(
            f"{path} has no column {printable(', '.join(lacking))}; its columns are {printable(', '.join(columns))}. "
            "Name yours with --columns image=COLUMN mos=COLUMN."
        )
    return [{renamed.get(key, key): value for key, value in row.items()} for row in rows]


def _table(index: FileIndex, options: Options) -> Path:
    if options["table"]:
        path = Path(options["table"]).expanduser()
        for candidate in (path, index.root / path):
            if candidate.is_file():
                return candidate
        raise DataError(f"No file {path}, here or in {index.root}. Give the CSV file with --table.")
    tables = index.with_suffix(".csv")
    if len(tables) == 1:
        return tables[0]
    if not tables:
        raise index.missing("CSV file")
    shown = ", ".join(str(path.relative_to(index.root)) for path in tables[:6])
    raise DataError(f"{len(tables)} CSV files below {index.root}: {shown}. Choose one with --table.")


def _distortion(text: str, where: str) -> str:
    if text and text not in CATEGORY_OF_RAW_DISTORTION and text not in CATEGORIES:
        known = ", ".join(dict.fromkeys([*DISTORTION.labels, *CATEGORY_OF_RAW_DISTORTION]))
        raise DataError(f"{where}: unknown distortion {quoted(text)}; leave it empty or take one of: {known}.")
    return text


def _scenes(text: str, where: str) -> tuple[str, ...]:
    scenes = tuple(scene.strip() for scene in text.replace(";", "|").split("|") if scene.strip())
    if unknown := [scene for scene in scenes if scene not in SCENE.labels]:
        raise DataError(
            f"{where}: unknown scene {quoted(unknown[0])}; separate scenes with '|' and take: "
            f"{', '.join(SCENE.labels)}."
        )
    return scenes


def _splits(row: dict[str, str], where: str) -> dict[str, str]:
    splits = {}
    for column, value in row.items():
        if column == "split" or column.startswith("split_"):
            if value not in ("", *SPLITS):
                raise DataError(
                    f"{where}: {printable(column)} is {quoted(value)}; expected {', '.join(SPLITS)} or nothing."
                )
            splits[column.removeprefix("split_") if column != "split" else SESSION] = value
    return splits
