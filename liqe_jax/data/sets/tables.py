"""Readers for the file types of official labels: CSV, Excel, MATLAB."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liqe_jax.bounded_io import read_text
from liqe_jax.errors import DataError
from liqe_jax.messages import other_separator, printable, quoted

INSTALL = "Install what reads it: pip install 'liqe_jax[data]'."


def number(text: Any, where: str) -> float:
    """Converts text to a finite number.

    Raises:
      DataError: it is not a finite number; `where` locates it.
    """
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(f"{where}: expected a number, got {quoted(text)}. Correct the file or fetch it again.")
    return value


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Reads a CSV file with a header; keys and values are stripped.

    Raises:
      DataError: the file is not UTF-8, does not separate columns by commas, lacks a column, or has a row with too
        few or too many values.
    """
    try:
        text = read_text(path, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not in UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}. Save it as UTF-8; "
            "spreadsheets call that CSV UTF-8."
        ) from error
    except (OSError, ValueError) as error:
        reason = printable(getattr(error, "strerror", None) or error, 400)
        raise DataError(f"Cannot read {path}: {reason}. Give a CSV file.") from error
    try:
        return _rows_of(text, path, columns)
    except csv.Error as error:  # a cell of more than 131,072 characters, such as after a quote that nothing closes
        raise DataError(f"{path} is not a CSV file: {printable(error)}. Correct it or fetch it again.") from error


def _rows_of(text: str, path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    with io.StringIO(text, newline="") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        if mark := other_separator(header):
            raise DataError(
                f"{path} separates its columns with {mark!r}; expected commas. Export it again with commas, and with "
                "points in its numbers."
            )
        require_columns(path, header, columns)
        rows = []
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if any(value.strip() for value in values[len(header) :]) or len(values) < len(header):
                raise DataError(
                    f"{path}, line {reader.line_num}: expected {len(header)} values, got {len(values)}. "
                    "Correct the file or fetch it again; numbers have points, not commas."
                )
            rows.append({key: value.strip() for key, value in zip(header, values, strict=False)})
        return rows


def require_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """Checks a header.

    Raises:
      DataError: a column is missing.
    """
    if absent := [column for column in columns if column not in header]:
        raise DataError(
            f"{path} has no column {', '.join(absent)}; it has {printable(', '.join(map(str, header))) or 'nothing'}. "
            "Is it the right file?"
        )


def read_xlsx(path: Path, sheet: str | None = None) -> Iterator[tuple[Any, ...]]:
    """Reads the rows of one sheet of an .xlsx file; None takes the first sheet.

    Raises:
      DataError: openpyxl or the sheet is missing, or the file cannot be read.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise DataError(f"{path} is an Excel file. {INSTALL}") from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # zip and XML errors of many kinds
        raise DataError(f"{path} is not a readable .xlsx file: {printable(error)}. Fetch it again.") from error
    try:
        if sheet is not None and sheet not in book.sheetnames:
            raise DataError(f"{path} has no sheet {sheet!r}; it has {printable(', '.join(book.sheetnames))}.")
        yield from book[sheet or book.sheetnames[0]].iter_rows(values_only=True)
    finally:
        book.close()


def read_xls(path: Path) -> list[list[Any]]:
    """Reads the rows of the first sheet of an old .xls file, or of an .xlsx file.

    Raises:
      DataError: xlrd is missing, or the file cannot be read.
    """
    if path.suffix.lower() == ".xlsx":
        return [list(row) for row in read_xlsx(path)]
    try:
        import xlrd
    except ImportError as error:
        raise DataError(f"{path} is an old Excel file. {INSTALL}") from error
    try:
        sheet = xlrd.open_workbook(path).sheet_by_index(0)
    except Exception as error:  # of many kinds
        raise DataError(f"{path} is not a readable .xls file: {printable(error)}. Fetch it again.") from error
    return [sheet.row_values(row) for row in range(sheet.nrows)]


def read_mat(path: Path, *names: str) -> list[np.ndarray]:
    """Reads variables of a MATLAB file, flattened; cells of strings become arrays of str.

    Raises:
      DataError: SciPy or a variable is missing, or the file cannot be read.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DataError(f"{path} is a MATLAB file. {INSTALL}") from error
    try:
        variables = loadmat(path, variable_names=names)
    except Exception as error:  # of many kinds
        raise DataError(f"{path} is not a readable .mat file: {printable(error)}. Fetch it again.") from error
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
