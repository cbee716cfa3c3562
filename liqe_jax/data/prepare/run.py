"""`liqe data prepare` as a function."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from liqe_jax.data.named import check_own_name
from liqe_jax.data.prepare.report import Report
from liqe_jax.data.reading.sidecar import INCOMPLETE
from liqe_jax.data.sets import find_spec
from liqe_jax.errors import DataError
from liqe_jax.locks import in_use


def prepare(
    name: str,
    manual_dir: str | os.PathLike,
    data_dir: str | os.PathLike,
    options: Mapping[str, Any] | None = None,
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
      options: settings of this data set (`DataSetSpec.options`); those absent have their defaults.
      own_name: tells several sets of one's own (`folder_csv`, `synthetic`) apart.
      allow_missing: leave missing and unreadable images out instead of refusing.
      workers: threads; None takes the number of cores.
      quiet: no progress bar.

    Returns:
      The folder it is in, and the report.

    Raises:
      DataError: files are missing, malformed or corrupt, the set is prepared already, or it does not have one of
        the options.
    """
    spec = find_spec(name)
    complete = spec.complete(options or {})
    manual = Path(manual_dir).expanduser()
    if not manual.is_dir():
        raise DataError(f"No folder {manual}. Give the folder that holds {spec.title}.\nExpected:\n{spec.tree}")
    if own_name is not None:
        check_own_name(own_name)
    try:
        import tensorflow_datasets as tfds

        from liqe_jax.data.prepare.builders import builder_for
    except ImportError as error:
        raise DataError(f"Preparing data needs {error.name}: pip install 'liqe_jax[data]'") from error
    settings = {"options": complete, "allow_missing": allow_missing, "workers": workers, "quiet": quiet}
    with _silent_tfds():
        builder = builder_for(spec, Path(data_dir).expanduser(), own_name, **settings)
    folder = Path(builder.data_dir)
    config = tfds.download.DownloadConfig(manual_dir=str(manual))
    with in_use(folder):
        _write(builder, config, folder, data_dir)
    assert builder.report is not None
    return folder, builder.report


def _write(builder: Any, config: Any, folder: Path, data_dir: str | os.PathLike) -> None:
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
                download_config=config,
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
