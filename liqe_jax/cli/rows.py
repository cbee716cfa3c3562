"""Rows of images as they are scored, with a progress bar, maps, and a summary at the end."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liqe_jax.cli import output
from liqe_jax.cli.inputs import expand, passed_over
from liqe_jax.cli.writers import row_of
from liqe_jax.errors import LiqeError
from liqe_jax.images.preprocess import Preset
from liqe_jax.messages import printable, storable
from liqe_jax.scoring.result import Failure

if TYPE_CHECKING:
    from liqe_jax.scoring.model import Model


class Scoring:
    """One run of a model over what the command line names, except the images that are done."""

    def __init__(self, model: Model, preset: Preset, arguments: argparse.Namespace, done: set[str]):
        self._model, self._preset, self._arguments, self._done = model, preset, arguments, done
        self._quiet = arguments.quiet or not sys.stderr.isatty()
        self._passed: Counter[str] = Counter()
        self._scored = self._failed = 0
        self._interrupted = False
        self._bar: Any = None

    def above_the_bar(self) -> contextlib.AbstractContextManager:
        """While a row is written on a terminal, the bar moves away."""
        return contextlib.nullcontext() if self._quiet else self._bar.external_write_mode(file=sys.stdout)

    def status(self) -> int:
        """The exit status."""
        return 130 if self._interrupted else 1 if self._failed else 0

    def interrupt(self) -> None:
        """Ends the run, while it waits for a row or while a row is written."""
        print(f"\nInterrupted after {self._scored} images; what was scored is written.", file=sys.stderr)
        self._interrupted = True

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for every image; an interruption ends them."""
        from tqdm import tqdm

        began, digest = time.monotonic(), output.short_digest(self._model)
        total = None if "-" in self._arguments.paths else sum(1 for _ in self._wanted(Counter()))
        try:
            with tqdm(
                total=total, unit="image", disable=self._quiet, file=sys.stderr, dynamic_ncols=True, leave=False
            ) as self._bar:
                for result in self._results():
                    if isinstance(result, Failure):
                        self._failed += 1
                        if storable(result.image) in self._done:
                            # A folder that could not be listed by the run before either: it has its row.
                            print(f"liqe: {printable(result.image)}: {printable(result.error, 1000)}", file=sys.stderr)
                            continue
                    else:
                        self._scored += 1
                        if self._arguments.map and not self._write_map(result.image, result.quality):
                            self._failed += 1
                    yield row_of(result, digest)
                    self._bar.update()
        except KeyboardInterrupt:
            self.interrupt()
            return
        if not self._arguments.quiet:
            self._summarise(time.monotonic() - began)

    def _summarise(self, seconds: float) -> None:
        rate = f", {self._scored / seconds:.2f} images/s" if self._scored else ""
        before = f", {len(self._done)} already in {self._arguments.output}" if len(self._done) else ""
        made_by = f"{printable(self._model.name)}, {self._model.dtype}"
        print(f"{self._scored} scored, {self._failed} failed{before}{rate} ({made_by})", file=sys.stderr)
        if self._passed:
            print(passed_over(self._passed), file=sys.stderr)

    def _wanted(self, passed: Counter[str]) -> Iterator[str | Failure]:
        for item in expanded(self._arguments, passed):
            # What could not be listed is never done: behind it may be any number of images.
            if isinstance(item, Failure) or storable(item) not in self._done:
                yield item

    def _results(self) -> Iterator[Any]:
        """Results in the order of the inputs; failures to find an image keep their place."""
        for is_path, group in itertools.groupby(self._wanted(self._passed), lambda item: isinstance(item, str)):
            if not is_path:
                yield from (item for item in group if isinstance(item, Failure))
                continue
            yield from self._model.score_many(
                (item for item in group if isinstance(item, str)),
                batch_size=self._arguments.batch_size,
                preprocess=self._preset,
                crops=self._arguments.crops,
                allow_truncated=self._arguments.allow_truncated,
            )

    def _write_map(self, image: str, quality: float) -> bool:
        from liqe_jax.scoring.heatmap import render

        target = Path(self._arguments.map) / map_path(image)
        try:
            quality_map = self._model.quality_map(
                image, preprocess=self._preset, allow_truncated=self._arguments.allow_truncated
            )
            title = f"{Path(image).name}: {quality:.2f} ({self._model.name}, {self._preset.name})"
            target.parent.mkdir(parents=True, exist_ok=True)
            render(quality_map, title).save(target, quality=92)
        except (LiqeError, OSError) as error:
            print(f"liqe: no map of {printable(image)}: {printable(error, 1000)}", file=sys.stderr)
            return False
        return True


def expanded(arguments: argparse.Namespace, passed: Counter[str]) -> Iterator[str | Failure]:
    """The images and unlistable folders that the command line names."""
    return expand(arguments.paths, arguments.recursive, passed, arguments.raw_previews)


def map_path(image: str) -> Path:
    """Where in the folder of maps that of a photograph goes: by its path alone, so that no other run or order moves it.

    Seen from the current folder where it lies there, otherwise from the root.
    """
    path = Path(os.path.abspath(image))
    here = Path.cwd()
    inside = path.relative_to(here if path.is_relative_to(here) else path.anchor)
    return inside.with_name(f"{inside.name}.map.jpg")
