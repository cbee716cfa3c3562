"""What a run counts and reports: a progress line, metrics as JSONL, TensorBoard; and steps that are not finite."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from liqe_jax.errors import LiqeError
from liqe_jax.messages import LONGEST_MESSAGE, printable
from liqe_jax.train.mapped import fetched
from liqe_jax.train.step import Metrics
from liqe_jax.train.workdir import write_whole

# Steps that the host is ahead of the devices: one that runs, and one that follows it without a wait.
IN_FLIGHT = 2

# Most steps whose metrics are fetched together; a step that is not finite is noticed no later than that.
TOGETHER = 10


class NotFinite(LiqeError):
    """A loss or gradient became NaN or Inf, and the run was configured to stop."""


def _summary_writer() -> Any:
    """The class `tensorboardX.SummaryWriter`, imported without PyTorch.

    tensorboardX imports PyTorch where it is installed. That takes seconds, and logs do not need it.
    """
    imported = "torch" in sys.modules
    if not imported:
        sys.modules["torch"] = None  # type: ignore[assignment]  # `import torch` raises ImportError
    try:
        from tensorboardX import SummaryWriter
    finally:
        if not imported:
            del sys.modules["torch"]
    return SummaryWriter


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
            # What was written after the checkpoint that a resumed run starts from is hidden.
            self._board = _summary_writer()(f"{folder}/tensorboard", purge_step=resumed_at or None)

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
        # The file is small: a line every few steps. It is written whole, since gs:// cannot append.
        write_whole(self._file, "".join(line + "\n" for line in self._lines))

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


@dataclasses.dataclass
class Progress:
    """Counters of a run, all of which are in its checkpoints, as JSON.

    Attributes:
      losses: names of the M losses.
      step: steps done.
      best: name of an average over the validation sets -> its best value so far.
      epoch_means: mean losses of each epoch so far, M numbers each.
      sums: of the losses in this epoch, M numbers.
      counted: steps of this epoch that were taken.
      skipped: steps of the run that were not finite.
    """

    losses: list[str]
    step: int = 0
    best: dict[str, float] = dataclasses.field(default_factory=dict)
    epoch_means: list[list[float]] = dataclasses.field(default_factory=list)
    sums: list[float] = dataclasses.field(default_factory=list)
    counted: int = 0
    skipped: int = 0

    def count(self, losses: np.ndarray) -> None:
        """Adds a step's losses to the epoch's."""
        before = self.sums or [0.0] * len(self.losses)
        self.sums = [total + float(loss) for total, loss in zip(before, losses, strict=True)]
        self.counted += 1

    def end_epoch(self) -> None:
        """Closes the epoch: its mean losses are kept. Skipped steps do not count, unlike in the reference (bug B15)."""
        if self.counted:
            self.epoch_means.append([total / self.counted for total in self.sums])
        self.sums, self.counted = [], 0


class _Taken(NamedTuple):
    number: int
    rate: float
    names: Sequence[str]
    metrics: Metrics


class Report:
    """Counts and logs the steps of a run, some time after they were started, in their order."""

    def __init__(self, config: ConfigDict, progress: Progress, logs: Logs):
        self._config, self._progress, self._logs = config, progress, logs
        self._began, self._first = time.monotonic(), progress.step
        self._taken: list[_Taken] = []

    def add(self, number: int, rate: float, names: Sequence[str], metrics: Metrics) -> None:
        """Notes a step that was started; waits until at most `IN_FLIGHT` are not done.

        `number` counts from 1; `names` are those of the images; `metrics` are on the devices. Raises NotFinite if one
        of the steps that are done was not taken, and `config.on_nan` is "stop".
        """
        self._taken.append(_Taken(number, rate, names, metrics))
        if len(self._taken) > IN_FLIGHT:
            jax.block_until_ready(self._taken[-1 - IN_FLIGHT].metrics.finite)
        done = number - IN_FLIGHT
        if done > 0 and (done % TOGETHER == 0 or done % self._config.log_every_steps == 0):
            self.fetch(IN_FLIGHT)

    def fetch(self, but: int = 0) -> None:
        """Counts all steps but the last few; raises as `add`."""
        ready = self._taken[: len(self._taken) - but]
        self._taken = self._taken[len(ready) :]
        for taken, metrics in zip(ready, fetched([taken.metrics for taken in ready]), strict=True):
            self._progress.step = taken.number
            self._count(taken, metrics)

    def _count(self, taken: _Taken, metrics: Metrics) -> None:
        progress, config, step = self._progress, self._config, taken.number
        losses = dict(zip(progress.losses, metrics.losses.tolist(), strict=True))
        if not metrics.finite:
            message = f"step {step} is not finite: losses {losses}, images {', '.join(taken.names)}"
            if config.on_nan == "stop":
                raise NotFinite(message)
            progress.skipped += 1
            self._logs.say(f"Skipped: {message} ({progress.skipped} so far)")
            self._logs.write(step, {"skipped": progress.skipped, "images": ", ".join(taken.names)})
            return
        progress.count(np.asarray(metrics.losses, np.float64))
        steps = config.epochs * config.steps_per_epoch
        if step % config.log_every_steps and step != steps:
            return
        each = (time.monotonic() - self._began) / max(step - self._first, 1)  # seconds a step, in this process
        hours, minutes = divmod(int(each * (steps - step) / 60), 60)
        left = f"{hours} h {minutes:02d} min" if hours else f"{each * (steps - step) / 60:.1f} min"
        speed = sum(count for _, count in config.data.sets) / max(each, 1e-9)
        weights = dict(zip(progress.losses, metrics.weights.tolist(), strict=True))
        self._logs.write(
            step,
            {
                **{f"loss/{name}": value for name, value in losses.items()},
                **{f"weight/{name}": value for name, value in weights.items()},
                "learning_rate": taken.rate,
                "gradient_norm": float(metrics.grad_norm),
                "images_per_second": speed,
            },
        )
        shown = "  ".join(f"{name} {value:.4f} (x{weights[name]:.2f})" for name, value in losses.items())
        self._logs.say(f"step {step}/{steps}  {shown}  lr {taken.rate:.3g}  {speed:.1f} images/s  {left} left")


def scatter_picture(mos: np.ndarray, quality: np.ndarray, title: str) -> np.ndarray:
    """MOS against prediction, uint8 [H, W, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.scatter(quality, mos, s=6, alpha=0.5)
    axes.set(xlabel="predicted quality", ylabel="MOS", title=title)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
