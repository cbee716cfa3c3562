"""Scoring shards: images per second against `Model.score_many`, memory, and what Ray costs and survives.

    python -m benchmarks.scale                  score_shard against score_many, in turns, liqe_nano
    python -m benchmarks.scale --cost           what one image costs: bytes, CPU seconds of decoding, FLOP
    python -m benchmarks.scale --memory         peak memory with small and with large shards
    python -m benchmarks.scale --ray FOLDER     20,000 small images with and without Ray, in a new folder
    python -m benchmarks.scale --forms FOLDER   without Ray, shards on Ray, and Ray Data's own reader and writer

With --ray, an actor is killed in one run, and all of another run, which is then started again. Every row is compared
with those of a run without Ray. --forms runs each form with one tar and with ten: their difference leaves out the start
of the cluster and of the actor. Images are random with structure at all scales: 1024x768 JPEG, and 72x56 JPEG for
--memory, --ray and --forms, which use a small random model, since they do not measure the model. CPU seconds are of the
process and its children; on a machine that does other things too they say more than the clock.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.pipeline import pictures

SHARDS, IMAGES = 20, 1000


def small_pictures(first: int, count: int) -> Iterator[bytes]:
    """JPEG files of 72x56 pixels that all differ."""
    for number in range(first, first + count):
        coarse = np.random.default_rng(number).integers(0, 256, (5, 7, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((72, 56), Image.Resampling.BICUBIC).save(file, "JPEG")
        yield file.getvalue()


def write_tar(path: Path, images: Iterator[bytes], first: int = 0) -> None:
    """A tar as WebDataset has it."""
    with tarfile.open(path, "w") as tar:
        for number, image in enumerate(images, first):
            header = tarfile.TarInfo(f"{number:09d}.jpg")
            header.size = len(image)
            tar.addfile(header, io.BytesIO(image))


def compare(name: str, count: int, rounds: int, preprocess: str | None) -> None:
    """`score_shard` from a tar on disk against `score_many` from memory, in turns."""
    from liqe_jax.scale.output import OutputFolder
    from liqe_jax.scale.run import Options, score_shard
    from liqe_jax.scale.shards import find_shards
    from liqe_jax.scoring.load import load

    model, files = load(name), pictures("1024x768 JPEG")
    images = [files[number % len(files)] for number in range(count)]
    times: dict[str, list[tuple[float, float]]] = {"score_many": [], "score_shard": []}
    with TemporaryDirectory() as folder:
        write_tar(Path(folder) / "x.tar", iter(images))
        (shard,) = find_shards([f"{folder}/x.tar"])
        output, options = OutputFolder(f"{folder}/out").create(), Options(preprocess=preprocess, overwrite=True)
        for turn in range(rounds + 1):
            for contender, found in times.items():
                start, cpu = time.perf_counter(), time.process_time()
                if contender == "score_many":
                    assert len(list(model.score_many(images, preprocess=preprocess))) == count
                else:
                    assert score_shard(shard, output, model, options)["scored"] == count
                if turn:  # the first compiles
                    found.append((time.perf_counter() - start, time.process_time() - cpu))
    for place, what in enumerate(("wall", "CPU")):
        many, shard_seconds = ([pair[place] for pair in found] for found in times.values())
        ratios = [a / b for a, b in zip(many, shard_seconds, strict=True)]
        print(
            f"{name}, {count} images, {what}: score_many {count / statistics.median(many):.2f}, score_shard "
            f"{count / statistics.median(shard_seconds):.2f} images per second; ratio {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})"
        )


def cost(name: str, preprocess: str | None) -> None:
    """Bytes, CPU time of decoding and preparing on one core, and FLOP of one image."""
    import jax

    from liqe_jax.model.predict import predict
    from liqe_jax.scoring.load import load

    model, files = load(name), pictures("1024x768 JPEG")
    times = []
    for _ in range(5):
        start = time.process_time()
        for file in files:
            crops = model.crops(file, preprocess=preprocess)
        times.append((time.process_time() - start) / len(files))
    run = jax.jit(predict, static_argnames=("encoder", "tasks"))
    lowered = run.lower(model.params, crops[None], model.text_features, encoder=model.encoder, tasks=model.tasks)
    flop = lowered.compile().cost_analysis()["flops"]
    size, decoding = statistics.mean(len(file) for file in files), statistics.median(times)
    print(
        f"{name}, 1024x768 JPEG: {size / 1e3:.0f} kB; decoding and preparing {decoding * 1e3:.1f} ms of one core; "
        f"{flop / 1e9:.2f} GFLOP"
    )


MEMORY = """
import resource, sys
model, path = sys.argv[1:]
from liqe_jax.scale.output import OutputFolder
from liqe_jax.scale.run import Options, score_shard
from liqe_jax.scale.shards import find_shards
from liqe_jax.scoring.load import load
(shard,) = find_shards([path])
found = score_shard(shard, OutputFolder(path + ".out").create(), load(model), Options(preprocess="whole"))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
print(f"{found['images']} images: {peak:.0f} MB at most", flush=True)
"""


def memory(model: str, counts: Sequence[int]) -> None:
    """Peak resident memory of a process that scores one shard of small images."""
    with TemporaryDirectory() as folder:
        for count in counts:
            path = Path(folder) / f"{count}.tar"
            files = list(small_pictures(0, 100))
            write_tar(path, (files[number % 100] for number in range(count)))
            subprocess.run([sys.executable, "-c", MEMORY, model, path], check=True)


def with_ray(folder: Path, rounds: int) -> None:
    """20,000 images: without Ray, with one actor and with two, in turns; then an actor is killed, then a whole run."""
    tars, command = _prepare(folder, SHARDS, IMAGES)
    command = [sys.executable, *command, *tars, "--output"]
    ray = ["--engine", "ray", "--actors"]
    engines = {"core": [], "one": [*ray, "1", "--resources", "CPU=2"], "two": [*ray, "2"]}
    rates: dict[str, list[tuple[float, float, float]]] = {name: [] for name in engines}
    for turn in range(rounds):
        for name, options in engines.items():
            rates[name].append(_rates(f"{name} {turn}", [*command, f"{folder}/{name}{turn}", *options]))
    measures = ("with the start of the cluster", "once shards are being scored", "by CPU seconds of the scorers")
    for place, what in enumerate(measures):
        for first, second in (("core", "one"), ("one", "two")):
            pairs = zip(rates[first], rates[second], strict=True)
            ratios = [after[place] / before[place] for before, after in pairs]
            print(
                f"{second} / {first}, {what}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )
    _rates("one of two actors killed", [*command, f"{folder}/actor", *engines["two"]], kill_actor_at=folder / "actor")
    killed = [*command, f"{folder}/driver", *engines["two"]]
    driver = subprocess.Popen(killed, stderr=subprocess.DEVNULL)
    _wait_for_outputs(folder / "driver", SHARDS // 3)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    print(f"run killed after {len(list((folder / 'driver').glob('*.parquet')))} of {SHARDS} shards", flush=True)
    _rates("the same run again", killed)
    for name in ("one0", "two0", "actor", "driver"):
        print(f"{name}: {_equal_rows(folder / 'core0', folder / name)} rows are equal to the core's", flush=True)


def forms(folder: Path, rounds: int, images: int = 500) -> None:
    """Seconds of an image without Ray, as whole shards on one actor, and in `examples/ray_data.py`, in turns."""
    tars, core = _prepare(folder, 10, images)
    command = "from liqe_jax.cli.main import main; main({} + ['--output', *sys.argv[1:]])"
    options = f"actors=1, model='{folder}/model', preprocess='whole', workers=2, batch_size=16"
    commands = {
        "without Ray": command.format(core[2:]),
        "whole shards": command.format([*core[2:], "--engine", "ray", "--actors", "1", "--resources", "CPU=2"]),
        "pipeline": f"from examples.ray_data import score; score(sys.argv[2:], sys.argv[1], {options})",
    }
    found: dict[str, list[list[list[float]]]] = {name: [] for name in commands}
    for turn in range(rounds):
        for name, command in commands.items():
            found[name].append([])
            for some in (tars[:1], tars):
                python = [sys.executable, "-c", f"import sys; {command}{SPENT}", f"{folder}/{name} {turn} {len(some)}"]
                start = time.perf_counter()
                done = subprocess.run([*python, *some], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
                found[name][-1].append([time.perf_counter() - start, *map(float, done.stdout.split()[-2:])])
            print(name, np.round(found[name][-1], 1).tolist(), flush=True)
    for name, each in found.items():
        for place, what in enumerate(("by the clock", "of CPUs, driver and workers", "of CPUs, all processes")):
            seconds = np.array(each)[..., place]
            costs = np.diff(seconds).ravel() / (9 * images) * 1e3
            print(
                f"{name}, {what}: at least {seconds.min(0)[0]:.1f} s for one tar, {seconds.min(0)[1]:.1f} s for ten; "
                f"{np.median(costs):.2f} ms an image ({costs.min():.2f} to {costs.max():.2f})"
            )


# The rest of Ray's processes takes CPU time by the second, however many images are scored.
SPENT = """
import psutil
times = [(each.name(), sum(each.cpu_times()[:2])) for each in psutil.Process().children(recursive=True)]
own = sum(psutil.Process().cpu_times()[:2])
print(own + sum(time for name, time in times if name.startswith("ray::")), own + sum(time for _, time in times))
"""


def _prepare(folder: Path, count: int, images: int) -> tuple[list[str], list[str]]:
    """Tars and a small random model in a new folder; what Python runs to score, but for inputs and output."""
    folder.mkdir()
    tars = [folder / f"{number:05d}.tar" for number in range(count)]
    for number, tar in enumerate(tars):
        write_tar(tar, small_pictures(number * images, images), number * images)
    options = ["--preprocess", "whole", "--workers", "2", "--batch-size", "16"]
    model = str(_random_model(folder / "model"))
    return [str(tar) for tar in tars], ["-m", "liqe_jax.cli.main", "score-shards", "--model", model, *options]


def _random_model(path: Path) -> Path:
    from liqe_jax.weights.native import write_native
    from liqe_jax.weights.open import with_text_features
    from liqe_jax.weights.provenance import Provenance
    from tests.tiny import TINY, random_checkpoint

    write_native(path, with_text_features(random_checkpoint(TINY, Provenance("random"))))
    return path


def _rates(what: str, command: list[str], kill_actor_at: Path | None = None) -> tuple[float, float, float]:
    """Images per second of a command: in all, from the start of the first shard to the end of the last, and of CPU."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    if kill_actor_at is not None:
        _wait_for_outputs(kill_actor_at, SHARDS // 3)
        actor = _actors()[0]
        os.kill(actor, signal.SIGKILL)
        print(f"killed actor {actor}", flush=True)
    _, error = process.communicate()
    assert process.returncode == 0, error
    summary = error.splitlines()[-1]
    spans, images, cpu = [], 0, 0.0
    for path in Path(command[command.index("--output") + 1]).glob("*_stats.json"):
        shard, end = json.loads(path.read_text()), path.stat().st_mtime
        spans.append((end - shard["seconds"], end))
        images, cpu = images + shard["images"], cpu + shard["cpu_seconds"]
    scoring = images / (max(end for _, end in spans) - min(start for start, _ in spans))
    print(f"{what}: {scoring:.0f} images/s once shards are being scored, {cpu:.1f} s of CPU; {summary}", flush=True)
    return float(summary.split()[-2]), scoring, images / cpu


def _wait_for_outputs(folder: Path, count: int) -> None:
    while len(list(folder.glob("*.parquet"))) < count:
        time.sleep(0.2)


def _actors() -> list[int]:
    """Processes that Ray calls after our actors."""
    found = subprocess.run(["pgrep", "-f", "^ray::.*_ShardScorer"], capture_output=True, text=True, check=True)
    return [int(number) for number in found.stdout.split()]


def _equal_rows(first: Path, second: Path) -> int:
    import pyarrow.parquet as pq

    rows = 0
    for number in range(SHARDS):
        core, other = (pq.read_table(folder / f"{number:05d}.parquet") for folder in (first, second))
        assert core.equals(other, check_metadata=True), number
        rows += len(core)
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Scoring shards: speed, memory, Ray.")
    parser.add_argument("--model", default="liqe_nano")
    parser.add_argument("--preprocess")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--ray", type=Path, metavar="FOLDER")
    parser.add_argument("--forms", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.ray:
        with_ray(options.ray, options.rounds)
    elif options.forms:
        forms(options.forms, options.rounds)
    elif options.cost:
        cost(options.model, options.preprocess)
    elif options.memory:
        memory(options.model, (1000, 10_000, 30_000))
    else:
        compare(options.model, options.images, options.rounds, options.preprocess)


if __name__ == "__main__":
    main()
