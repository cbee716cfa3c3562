"""What a run reports while it runs: a progress line, metrics as JSONL, TensorBoard."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from liqe_jax.messages import LONGEST_MESSAGE, printable


class Logs:
    """Writers of one run; silent on all processes but the first."""

    def __init__(self, folder: str, first_process: bool, resumed_at: int):
        self._active = first_process
        self._file = epath.Path(folder) / "metrics.jsonl"
        self._lines: list[str] = []
        self._board: Any = None
        if not first_process:
            return
        self._lines = self._lines_before(resumed_at)
        self._flush()
        if "://" not in str(folder):
            from tensorboardX import SummaryWriter

            # What was written after the checkpoint that a resumed run starts from is hidden.
            self._board = SummaryWriter(f"{folder}/tensorboard", purge_step=resumed_at or None)

    def _lines_before(self, step: int) -> list[str]:
        kept = []
        if step and self._file.exists():
            for line in self._file.read_text().splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line)
                except (ValueError, KeyError):
                    break  # cut off by a kill
        return kept

    def _flush(self) -> None:
        # The file is small: a line every few steps. It is written whole, since gs:// cannot append, and aside, so that
        # a kill does not leave an empty file.
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_name(f"{self._file.name}.new")
        fresh.write_text("".join(line + "\n" for line in self._lines))
        fresh.replace(self._file)

    def write(self, step: int, values: Mapping[str, float | str | Sequence[float]]) -> None:
        """One line of JSONL, and scalars for TensorBoard; `step` is the number of steps done."""
        if not self._active:
            return
        self._lines.append(json.dumps({"step": step, **values}))
        self._flush()
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, (int, float)):
                    self._board.add_scalar(name, value, step)

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """An RGB picture, uint8 [H, W, 3], for TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, image, step, dataformats="HWC")

    def say(self, text: str) -> None:
        """A line for people."""
        if self._active:
            print(printable(text, LONGEST_MESSAGE, keep="\n"), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Finishes the files."""
        if self._board is not None:
            self._board.close()


class Clock:
    """Images per second and the time that is left, over what this process has done."""

    def __init__(self, step: int, steps: int, images_per_step: int):
        self._start, self._first, self._steps, self._images = time.monotonic(), step, steps, images_per_step

    def describe(self, step: int) -> tuple[float, str]:
        """Images per second so far, and the time left as text."""
        elapsed = max(time.monotonic() - self._start, 1e-9)
        done = max(step - self._first, 1)
        left = elapsed / done * (self._steps - step)
        hours, minutes = divmod(int(left / 60), 60)
        return done * self._images / elapsed, f"{hours} h {minutes:02d} min" if hours else f"{left / 60:.1f} min"


def scatter_picture(mos: np.ndarray, quality: np.ndarray, title: str) -> np.ndarray:
    """Opinion against prediction, uint8 [H, W, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.scatter(quality, mos, s=6, alpha=0.5)
    axes.set(xlabel="predicted quality", ylabel="MOS", title=title)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
