"""Executes a notebook from top to bottom, in a folder that vanishes afterwards.

    python tools/notebook.py notebooks/liqe_colab.ipynb

does it in place, as `make notebook` does; with --output the result goes elsewhere, and with --times the seconds of each
section are printed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent

# Of one cell, seconds: training on a busy machine.
TIMEOUT = 900


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Runs all cells with this interpreter and this checkout, in `folder`; outputs go into the notebook.

    Raises:
      CellExecutionError: a cell raised; the message shows which, and what.
    """
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=True,
        coalesce_streams=True,
        # What TensorFlow's C++ writes while it is loaded belongs on the terminal, not into the notebook.
        extra_arguments=["--IPKernelApp.capture_fd_output=False"],
    )
    path = os.pathsep.join(part for part in (os.environ.get("PYTHONPATH"), str(ROOT)) if part)
    # tqdm asks for widgets, which nobody looks at here.
    client.execute(env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore:IProgress not found"})


def take_times(notebook: nbformat.NotebookNode) -> dict[str, float]:
    """Removes the times from the cells, and returns the seconds of each section, by its heading."""
    seconds: dict[str, float] = {}
    heading = ""
    for cell in notebook.cells:
        times = cell.metadata.pop("execution", {})
        if cell.cell_type == "markdown":
            heading = next((line.lstrip("# ") for line in cell.source.split("\n") if line.startswith("#")), heading)
        elif times:
            begin, end = (
                datetime.datetime.fromisoformat(times[name]) for name in ("iopub.execute_input", "shell.execute_reply")
            )
            seconds[heading] = seconds.get(heading, 0.0) + (end - begin).total_seconds()
    return seconds


def main() -> None:
    """Arguments, then the cells."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--output", type=Path, help="default: in place")
    parser.add_argument("--times", action="store_true", help="print the seconds that each section took")
    arguments = parser.parse_args()
    notebook = nbformat.read(arguments.notebook, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    times = take_times(notebook)
    if arguments.times:
        print("\n".join(f"{seconds:6.1f} s  {heading}" for heading, seconds in times.items()))
    notebook.metadata.language_info = {"name": "python"}  # the version is that of whoever ran it last
    nbformat.write(notebook, arguments.output or arguments.notebook)


if __name__ == "__main__":
    main()
