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
from liqe_jax.data.prepare.gather import Report
from liqe_jax.data.reading.prepared import INCOMPLETE
from liqe_jax.data.reading.tensorflow import import_tensorflow
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
    """Prepares a data set; run it again after an interruption to continue.

    Args:
      name, options: the data set, such as "kadid10k", and its `DataSetSpec.options`; those absent have their defaults.
      manual_dir, data_dir: folder with the unpacked files, and folder of prepared sets, from which `load_set` reads.
      own_name: name of a set of your own data (`folder_csv`, `synthetic`).
      allow_missing: exclude missing and unreadable images instead of raising.
      workers: number of threads; None uses one per core.
      quiet: whether to hide the progress bar.

    Returns:
      The folder of the prepared set, and the report.

    Raises:
      DataError: files are missing, malformed or corrupt, the set is prepared already, or it does not have one of
        the options.
    """
    spec = find_spec(name)
    manual = Path(manual_dir).expanduser()
    if not manual.is_dir():
        raise DataError(f"No folder {manual}. Give the folder that contains {spec.title}.\nExpected:\n{spec.tree}")
    if own_name is not None:
        check_own_name(own_name)
    try:
        import_tensorflow()
        import tensorflow_datasets as tfds

        from liqe_jax.data.prepare.builders import builder_for
    except ImportError as error:
        raise DataError(f"Preparing data needs {error.name}: pip install 'liqe_jax[data]'") from error
    settings = {"options": options, "allow_missing": allow_missing, "workers": workers, "quiet": quiet}
    with _silent_tfds():
        builder = builder_for(spec, Path(data_dir).expanduser(), own_name, **settings)
    folder = Path(builder.data_dir)
    config = tfds.download.DownloadConfig(manual_dir=str(manual))
    with in_use(folder):
        _write(builder, config, folder, data_dir)
    assert builder.gathered is not None
    return folder, builder.gathered.report


def _write(builder: Any, config: Any, folder: Path, data_dir: str | os.PathLike) -> None:
    if folder.exists():
        raise DataError(
            f"{folder} exists already. Check it with: liqe data verify. To prepare the set again, remove it first."
        )
    for stale in folder.parent.glob(f"{INCOMPLETE}*_{folder.name}"):  # of a killed preparation
        shutil.rmtree(stale, ignore_errors=True)
    try:
        with _silent_tfds():
            builder.download_and_prepare(
                download_dir=str(builder.cache_dir / "downloads"),  # tfds creates it; it stays empty
                download_config=config,
            )
    except OSError as error:
        raise DataError(
            f"Cannot write below {data_dir}: {error}. Free disk space or choose another --data-dir, and run it again: "
            "finished images are kept."
        ) from error


@contextlib.contextmanager
def _silent_tfds() -> Iterator[None]:
    """Hides tfds's progress bars and messages, which report an unknown size and temporary folders."""
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
