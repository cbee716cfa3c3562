"""`liqe data prepare`, `verify` and what they say, as functions."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.named import check_own_name
from liqe_jax.data.report import Report
from liqe_jax.data.sets import SPECS
from liqe_jax.data.sidecar import INCOMPLETE, find_prepared, read_sidecar
from liqe_jax.data.spec import DataSetSpec, Options
from liqe_jax.errors import DataError, ImageError, LiqeError
from liqe_jax.images.decode import DecodeOptions, decode
from liqe_jax.locks import in_use


def find_spec(name: str) -> DataSetSpec:
    """The description of a data set by its name or short name, in any case.

    Raises:
      DataError: there is no such set.
    """
    for spec in SPECS.values():
        if name.lower() in (spec.slug, spec.name.lower()):
            return spec
    raise DataError(f"Unknown data set {name!r}; known are {', '.join(SPECS)}. folder_csv takes your own images.")


def prepare(
    name: str,
    manual_dir: str | os.PathLike,
    data_dir: str | os.PathLike,
    options: Options | None = None,
    own_name: str | None = None,
    allow_missing: bool = False,
    workers: int | None = None,
    quiet: bool = False,
) -> tuple[Path, Report]:
    """Prepares a data set; run it again after an interruption.

    Args:
      name: of the data set, such as "kadid10k".
      manual_dir: the folder with its files, unpacked.
      data_dir: where prepared sets go; `load_set` reads them from there.
      options: choices about labels.
      own_name: tells several sets of one's own (`folder_csv`, `synthetic`) apart.
      allow_missing: leave missing and unreadable images out instead of refusing.
      workers: threads; None takes the number of cores.
      quiet: no progress bar.

    Returns:
      The folder it is in, and the report.

    Raises:
      DataError: files are missing, malformed or damaged, or the set is prepared already.
    """
    spec = find_spec(name)
    options = options or Options()
    manual = Path(manual_dir).expanduser()
    if not manual.is_dir():
        raise DataError(f"No folder {manual}. Give the folder that holds {spec.title}.\nExpected:\n{spec.tree}")
    _check_options(spec, options)
    if own_name is not None:
        check_own_name(own_name)
    try:
        from liqe_jax.data.builders import builder_for
    except ImportError as error:
        raise DataError(f"Preparing data needs {error.name}: pip install 'liqe_jax[data]'") from error
    settings = {"options": options, "allow_missing": allow_missing, "workers": workers, "quiet": quiet}
    with _silent_tfds():
        builder = builder_for(spec, Path(data_dir).expanduser(), own_name, **settings)
    folder = Path(builder.data_dir)
    with in_use(folder):
        _write(builder, folder, manual, data_dir)
    assert builder.report is not None
    return folder, builder.report


def _write(builder: Any, folder: Path, manual: Path, data_dir: str | os.PathLike) -> None:
    import tensorflow_datasets as tfds

    if folder.exists():
        raise DataError(
            f"{folder} exists already. Check it with: liqe data verify; to prepare it anew, remove it first."
        )
    for stale in folder.parent.glob(f"{INCOMPLETE}*_{folder.name}"):  # of a preparation that was killed
        shutil.rmtree(stale, ignore_errors=True)
    try:
        with _silent_tfds():
            builder.download_and_prepare(
                download_dir=str(builder.cache_dir / "downloads"),  # stays empty, but tfds makes it
                download_config=tfds.download.DownloadConfig(manual_dir=str(manual)),
            )
    except OSError as error:
        raise DataError(
            f"Cannot write below {data_dir}: {error}. Make room or choose another --data-dir, and run it again: what "
            "was examined is kept."
        ) from error


@contextlib.contextmanager
def _silent_tfds() -> Iterator[None]:
    """Without tfds's own bars and messages, which say "unknown size" and show temporary folders."""
    import tensorflow_datasets as tfds
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)


def _check_options(spec: DataSetSpec, options: Options) -> None:
    if options.fix_live_fastfading and spec.slug != "live":
        raise DataError(f"--fix-live-fastfading is for LIVE; this is {spec.name}.")
    if options.liqe_labels and not spec.liqe_folder:
        with_labels = ", ".join(spec.slug for spec in SPECS.values() if spec.liqe_folder)
        raise DataError(f"LIQE has no labels for {spec.name}; --labels is for {with_labels}.")
    if (options.table or options.mos_range) and spec.slug != "folder_csv":
        raise DataError(f"--table and --mos-range are for folder_csv; this is {spec.name}.")
    if (options.kinds or options.levels or options.seed) and spec.slug != "synthetic":
        raise DataError(f"--kinds, --levels and --seed are for synthetic; this is {spec.name}.")


@dataclasses.dataclass(frozen=True)
class Verified:
    """What `verify` found: the number of images, and name -> fault of those that are damaged."""

    count: int
    faults: dict[str, str]


def verify(name: str, data_dir: str | os.PathLike, quiet: bool = False) -> Verified:
    """Reads every image of a prepared set, compares its hash and its size, and decodes it.

    Raises:
      DataError: there is no such set, or its records cannot be opened.
    """
    from liqe_jax.data.store import load_set

    prepared = load_set(name, data_dir)
    content = read_sidecar(find_prepared(name, Path(data_dir)))

    def fault_of(position: int) -> str:
        return _fault(prepared, position, content["sha256"][position], tuple(content["sizes"][position]))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checked = pool.map(fault_of, range(len(prepared)))
        bar = tqdm(checked, desc=prepared.name, total=len(prepared), unit="image", disable=quiet or None)
        faults = {image: fault for image, fault in zip(prepared.names, bar, strict=True) if fault}
    return Verified(len(prepared), faults)


def _fault(prepared: LabelledSet, position: int, sha256: str, size: tuple[int, int]) -> str:
    try:
        (encoded,) = prepared.read([position])
    except LiqeError as error:
        return str(error)
    if hashlib.sha256(encoded).hexdigest() != sha256:
        return "the bytes are not those that were stored"
    try:
        height, width = decode(encoded, DecodeOptions()).pixels.shape[:2]
    except ImageError as error:
        return str(error)
    return "" if (width, height) == size else f"decodes to {width}x{height}, stored as {size[0]}x{size[1]}"
