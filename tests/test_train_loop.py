"""What the loop does late: metrics, steps that are not finite, stop flags, validation and checkpoints."""

from __future__ import annotations

import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liqe_jax.train import hosts
from liqe_jax.train import report as reports
from liqe_jax.train.checkpoints import Background
from liqe_jax.train.hosts import Stop
from liqe_jax.train.mapped import fetched
from liqe_jax.train.report import IN_FLIGHT, NotFinite, Progress, Report
from liqe_jax.train.settings import default_config
from liqe_jax.train.step import Metrics
from liqe_jax.train.validate import Upkeep


class Lines:
    """In place of `Logs`."""

    def __init__(self):
        self.said, self.written = [], []

    def say(self, text):
        self.said.append(text)

    def write(self, step, values):
        self.written.append((step, values))


def report_of(steps: int, on_nan: str, lines: Lines) -> tuple[Report, Progress]:
    config = default_config()
    config.on_nan, config.epochs, config.steps_per_epoch = on_nan, 1, steps
    progress = Progress(["quality"])
    return Report(config, progress, lines), progress


def metrics(loss: float) -> Metrics:
    """As the step returns them from two devices."""
    one = Metrics(jnp.asarray([loss]), jnp.ones(1), jnp.ones(()), jnp.isfinite(loss), jnp.zeros(4))
    return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), one)


def test_metrics_are_fetched_late_and_counted_in_order(monkeypatch):
    fetches = []
    monkeypatch.setattr(reports, "fetched", lambda tree: fetches.append(len(tree)) or fetched(tree))
    lines = Lines()
    report, progress = report_of(30, "stop", lines)
    for number in range(1, 26):
        report.add(number, 0.1, [f"image {number}"], metrics(float(number)))
    assert fetches == [10, 10]
    assert progress.step == 20
    report.fetch()
    assert fetches == [10, 10, 5]
    assert (progress.step, progress.counted, progress.sums) == (25, 25, [sum(range(1, 26))])
    assert [step for step, _ in lines.written] == [10, 20]
    assert [values["loss/quality"] for _, values in lines.written] == [10.0, 20.0]


def test_a_step_that_is_not_finite_is_named_though_later_ones_were_started():
    report, progress = report_of(30, "stop", Lines())
    for number in range(1, 10 + IN_FLIGHT):
        report.add(number, 0.1, [f"set/{number}.png"], metrics(np.nan if number in (7, 9) else 1.0))
    with pytest.raises(NotFinite, match=r"step 7 is not finite: losses \{'quality': nan\}, images set/7\.png$"):
        report.add(10 + IN_FLIGHT, 0.1, ["set/12.png"], metrics(1.0))
    assert progress.counted == 6


def test_skipped_steps_are_counted_and_named():
    lines = Lines()
    report, progress = report_of(12, "skip", lines)
    for number in range(1, 13):
        report.add(number, 0.1, [f"set/{number}.png"], metrics(np.inf if number == 4 else 1.0))
    report.fetch()
    assert (progress.skipped, progress.counted) == (1, 11)
    assert lines.written[0] == (4, {"skipped": 1, "images": "set/4.png"})


def test_several_processes_exchange_stop_flags_rarely(monkeypatch):
    asked, now = [], [0.0]

    def from_all(numbers):
        asked.append(numbers)
        return np.asarray([numbers, [int(len(asked) == 4), 0]])  # the other process is told to stop

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts, "from_all", from_all)
    monkeypatch.setattr(hosts.time, "monotonic", lambda: now[0])
    stop = Stop()
    for step in range(1, 1000):
        now[0] += 1 / 16
        if stop.everywhere(step):
            break
    # After the second exchange the pace is known: 16 steps a second, 80 in five seconds.
    assert step == 162
    assert asked == [[0, 0], [0, 80], [0, 80], [0, 80]]


def test_background_work_is_done_in_order_and_its_errors_are_raised():
    background, done, may_end = Background(), [], threading.Event()
    background.submit(lambda: may_end.wait(10) and done.append("first"))
    background.submit(done.append, "second")
    assert done == []
    may_end.set()
    background.wait()
    assert done == ["first", "second"]

    def fail():
        raise OSError("disk full")

    background.submit(fail)
    with pytest.raises(OSError, match="disk full"):
        background.close()


class Store:
    """In place of `Checkpoints`."""

    def __init__(self):
        self.saved, self.background = [], Background()

    def save(self, step, state, progress):
        self.saved.append((step, state, progress["best"]))


def test_a_checkpoint_holds_the_best_values_of_its_own_validation():
    def validation(state, best, step, epoch):
        for _ in range(3):
            yield
        best["quality"] = 0.5 * epoch

    store, progress = Store(), Progress(["quality"], step=4)
    upkeep = Upkeep(validation, store, progress)
    upkeep.validate("state 4", 4, 1)
    upkeep.save("state 4")
    for step in (5, 6):
        progress.step = step
        upkeep.advance()
        assert not store.saved
    upkeep.advance()
    assert store.saved == [(4, "state 4", {"quality": 0.5})]
    progress.step = 8
    upkeep.validate("state 8", 8, 2)
    upkeep.save("state 8")
    upkeep.finish()
    assert store.saved[1:] == [(8, "state 8", {"quality": 1.0})]
    store.background.close()


def test_writing_for_tensorboard_does_not_import_pytorch():
    code = """if True:
        import sys
        from liqe_jax.train import report

        report._summary_writer()
        print([name for name in sys.modules if name.partition(".")[0] == "torch"])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
