"""Readers for tables of labels and scores: CSV, text, Excel, MATLAB.

They raise `DataError`, which names the place, if a file is missing, has another format or lacks a column, if a cell
does not hold what is expected, and if the package that reads the format is not installed.
"""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liqe_jax.bounded_io import read_text
from liqe_jax.errors import DataError
from liqe_jax.messages import other_separator, printable, quoted, reason_of


def number(text: Any, where: str) -> float:
    """Converts text to a finite number."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(f"{where}: expected a number, got {quoted(text)}. Correct the file or fetch it again.")
    return value


def _text_of(path: Path, encoding: str = "utf-8-sig", errors: str = "strict") -> str:
    try:
        return read_text(path, encoding, errors)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not in UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}. Save it as UTF-8; "
            "spreadsheets call that CSV UTF-8."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {path}: {reason_of(error)}. Check the path, or fetch the file again.") from error


def read_csv(path: Path, columns: Sequence[str] = (), *, strip: bool = True) -> list[dict[str, str]]:
    """Reads a CSV file with a header that has `columns`; `strip` removes white space around values, not only names."""
    text = _text_of(path)
    try:
        reader = csv.reader(io.StringIO(text, newline=""))
        header = [name.strip() for name in next(reader, [])]
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:  # a cell of more than 131,072 characters, such as after a quote that nothing closes
        raise DataError(f"{path} is not a CSV file: {printable(error)}. Correct it or fetch it again.") from error
    if mark := other_separator(header):
        raise DataError(
            f"{path} separates its columns with {mark!r}; expected commas. Export it again with commas, and with "
            "points in its numbers."
        )
    require_columns(path, header, columns)
    rows = []
    for line, cells in lines:
        stripped = [cell.strip() for cell in cells]
        if not any(stripped):
            continue
        if any(stripped[len(header) :]) or len(cells) < len(header):
            raise DataError(
                f"{path}, line {line}: expected {len(header)} values, got {len(cells)}. Correct the file or fetch it "
                "again; numbers have points, not commas, and text with commas is quoted."
            )
        rows.append(dict(zip(header, stripped if strip else cells, strict=False)))
    return rows


def read_scores(path: Path, name: str, score: str) -> list[tuple[str, float]]:
    """Reads two columns of a CSV file: names of images, and finite numbers."""
    return [(row[name], number(row[score], f"{path}, {row[name]}")) for row in read_csv(path, (name, score))]


def read_lines(path: Path, encoding: str = "ascii", errors: str = "replace") -> Iterator[tuple[str, str]]:
    """Yields the lines of a text file that are not empty, each after its place for error messages."""
    for position, line in enumerate(_text_of(path, encoding, errors).splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {position}", line


def require_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """Checks a header."""
    if absent := [column for column in columns if column not in header]:
        raise DataError(
            f"{path} has no column {', '.join(absent)}; it has {printable(', '.join(map(str, header))) or 'nothing'}. "
            "Is it the right file?"
        )


def read_sheet(path: Path, columns: Sequence[str], sheet: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the rows of an .xlsx or .xls file by column, each after its place for error messages.

    The header is the first row that has the first of `columns`, and must have all. Rows without a value there are
    skipped. `sheet` None is the first sheet.
    """
    cells = _xls_cells(path) if path.suffix.lower() == ".xls" else _xlsx_cells(path, sheet)
    names = [[str(value).strip() for value in values] for values in cells]
    place = next((place for place, line in enumerate(names) if columns[0] in line), 0)
    header = names[place] if names else []
    require_columns(path, header, columns)
    for position, values in enumerate(cells[place + 1 :], place + 2):
        row = dict(zip(header, values, strict=False))
        if row[columns[0]] not in ("", None):
            yield f"{path}, row {position}", row


def _xlsx_cells(path: Path, sheet: str | None) -> list[Sequence[Any]]:
    book = _opened(path, "openpyxl", lambda openpyxl: openpyxl.load_workbook(path, read_only=True, data_only=True))
    try:
        if sheet is not None and sheet not in book.sheetnames:
            raise DataError(f"{path} has no sheet {sheet!r}; it has {printable(', '.join(book.sheetnames))}.")
        return list(book[sheet or book.sheetnames[0]].iter_rows(values_only=True))
    finally:
        book.close()


def _xls_cells(path: Path) -> list[Sequence[Any]]:
    sheet = _opened(path, "xlrd", lambda xlrd: xlrd.open_workbook(path).sheet_by_index(0))
    return [sheet.row_values(row) for row in range(sheet.nrows)]


def _opened(path: Path, package: str, read: Callable[[Any], Any]) -> Any:
    """What `read` returns for an optional package."""
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise DataError(f"{path} is read with {package}: pip install 'liqe_jax[data]'") from error
    try:
        return read(module)
    except Exception as error:  # of many kinds, such as zip and XML errors
        raise DataError(f"{path} is not a readable {path.suffix} file: {printable(error)}. Fetch it again.") from error


def read_mat(path: Path, *names: str) -> list[np.ndarray]:
    """Reads variables of a MATLAB file, flattened; cells of strings become arrays of str."""
    variables = _opened(path, "scipy.io", lambda scipy_io: scipy_io.loadmat(path, variable_names=names))
    if absent := [name for name in names if name not in variables]:
        raise DataError(f"{path} has no variable {', '.join(absent)}. Is it the right file?")
    arrays = [_flat(variables[name]) for name in names]
    for name, array in zip(names, arrays, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{path}: {name} has values that are not finite. Fetch it again.")
    return arrays


def _flat(array: np.ndarray) -> np.ndarray:
    flat = np.asarray(array).ravel()
    if flat.dtype != object:
        return flat
    return np.array([str(np.asarray(cell).ravel()[0]) for cell in flat])
