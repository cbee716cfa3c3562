"""What a run reports of each step, and what it does about a step that is not finite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from liqe_jax.errors import LiqeError
from liqe_jax.train.checkpoints import Checkpoints
from liqe_jax.train.logs import Clock, Logs
from liqe_jax.train.progress import Progress
from liqe_jax.train.step import Metrics


class NotFinite(LiqeError):
    """A loss or gradient became NaN or Inf, and the run was configured to stop."""


def count_step(
    config: ConfigDict,
    metrics: Metrics,
    names: Sequence[str],
    rate: float,
    progress: Progress,
    clock: Clock,
    logs: Logs,
    checkpoints: Checkpoints,
) -> None:
    """Counts a step, and logs it every `config.log_every_steps`.

    Args:
      config: of the run.
      metrics: of the step, on the host.
      names: of its images.
      rate: its learning rate.
      progress: is changed.
      clock, logs: of the run.
      checkpoints: named in the error.

    Raises:
      NotFinite: the step was not taken, and `config.on_nan` is "stop".
    """
    losses = dict(zip(progress.losses, np.asarray(metrics.losses).tolist(), strict=True))
    step, steps = progress.step, config.epochs * config.steps_per_epoch
    if not metrics.finite:
        message = f"step {step} is not finite: losses {losses}, images {', '.join(names)}"
        if config.on_nan == "stop":
            raise NotFinite(
                f"{message}. The last good checkpoint, {checkpoints.folder}, is of step "
                f"{max(checkpoints.steps(), default=0)}. Look at those images, lower the learning rate, or set "
                "config.on_nan = 'skip'."
            )
        progress.skipped += 1
        logs.say(f"Skipped: {message} ({progress.skipped} so far)")
        logs.write(step, {"skipped": progress.skipped, "images": ", ".join(names)})
        return
    progress.count(np.asarray(metrics.losses, np.float64))
    if step % config.log_every_steps and step != steps:
        return
    speed, left = clock.describe(step)
    weights = dict(zip(progress.losses, np.asarray(metrics.weights).tolist(), strict=True))
    logs.write(
        step,
        {
            **{f"loss/{name}": value for name, value in losses.items()},
            **{f"weight/{name}": value for name, value in weights.items()},
            "learning_rate": rate,
            "gradient_norm": float(metrics.grad_norm),
            "images_per_second": speed,
        },
    )
    shown = "  ".join(f"{name} {value:.4f} (x{weights[name]:.2f})" for name, value in losses.items())
    logs.say(f"step {step}/{steps}  {shown}  lr {rate:.3g}  {speed:.1f} images/s  {left} left")
