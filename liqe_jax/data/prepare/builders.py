"""tensorflow-datasets builders, one per data set; importing this module registers them with `tfds`.

All have one tfds split, `full` (tfds reserves `all`): record i is row i of `labels.json`, which has the exact labels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tqdm import tqdm

from liqe_jax.bounded_io import read_bytes
from liqe_jax.data.labelled import UNKNOWN
from liqe_jax.data.prepare.gather import Gathered, gather
from liqe_jax.data.prepare.images import PreparedImage
from liqe_jax.data.reading.prepared import FILE, FORMAT
from liqe_jax.data.sets import specs
from liqe_jax.data.sets.spec import DataSetSpec, Options
from liqe_jax.errors import DataError
from liqe_jax.messages import reason_of
from liqe_jax.taxonomy import DISTORTION, SCENE

# tfds sorts keys as numbers of this many bits, in buckets by their highest bits.
KEY_BITS = 128

SPLIT = "full"

# Folder of the finished images of an incomplete preparation, below the data directory.
CACHE = ".liqe_prepare"

# The folder of a set of the user's data without a name.
UNNAMED = "default"


class LabelledBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Base class of all builders; a subclass sets its `SPEC`."""

    VERSION = tfds.core.Version("1.0.0")
    SPEC: DataSetSpec
    # By default tfds uses importlib_resources, which it does not install on every Python.
    code_path = epath.Path(__file__)

    def __init__(
        self,
        *,
        options: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        workers: int | None = None,
        quiet: bool = False,
        **kwargs: Any,
    ):
        """Takes the arguments of `gather` and of tfds."""
        self._options = self.SPEC.complete(options or {})
        self._settings: dict[str, Any] = {"allow_missing": allow_missing, "workers": workers, "quiet": quiet}
        self.gathered: Gathered | None = None  # after the preparation
        kwargs.setdefault("file_format", "array_record")
        super().__init__(**kwargs)

    @property
    def cache_dir(self) -> Path:
        """The folder of finished images."""
        return Path(self.data_dir_root, CACHE, self.name, self.builder_config.name if self.builder_config else "")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "name": tfds.features.Text(),
            "mos": np.float32,
            "raw_distortion": tfds.features.Text(),
            "distortion": tfds.features.ClassLabel(names=DISTORTION.labels),
            "scenes": tfds.features.Tensor(shape=(len(SCENE.labels),), dtype=np.bool_),
            "reference": tfds.features.Text(),
            "splits": tfds.features.Sequence({"session": tfds.features.Text(), "split": tfds.features.Text()}),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.SPEC.title}. {self.SPEC.licence}",
            homepage=self.SPEC.url or None,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        self.gathered = gather(self.SPEC, Path(dl_manager.manual_dir), self.cache_dir, self._options, **self._settings)
        return {SPLIT: self._generate_examples(self.gathered)}

    def _generate_examples(self, gathered: Gathered) -> Iterator[tuple[int, dict[str, Any]]]:
        # Spread over the range of keys; otherwise tfds sorts the whole data set in one bucket in memory.
        step = (1 << KEY_BITS) // len(gathered.rows)
        images = tqdm(
            zip(gathered.rows, gathered.images, strict=True),
            desc=f"{self.SPEC.name}, writing",
            total=len(gathered.rows),
            unit="image",
            disable=self._settings["quiet"] or None,
        )
        for position, (row, image) in enumerate(images):
            features = {
                "image": _content_of(image),
                "name": row.name,
                "mos": row.mos,
                "raw_distortion": row.raw_distortion,
                "distortion": self.SPEC.category(row.raw_distortion) or -1,
                "scenes": np.array([label in row.scenes for label in SCENE.labels]),
                "reference": row.reference,
                "splits": [{"session": session, "split": split} for session, split in row.splits.items()],
            }
            yield position * step, features

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        super()._download_and_prepare(dl_manager, download_config)
        assert self.gathered is not None
        own = self.builder_config.name if self.builder_config else UNNAMED
        name = self.SPEC.name if own == UNNAMED else own
        # Written to the temporary folder, which becomes the data set if everything succeeds.
        write_labels(Path(self.data_dir), self.SPEC, name, self.gathered, self._options)
        shutil.rmtree(self.cache_dir, ignore_errors=True)
        for folder in (self.cache_dir.parent, self.cache_dir.parent.parent):
            if folder.name in (CACHE, self.name):
                with contextlib.suppress(OSError):  # not empty: other sets are being prepared
                    folder.rmdir()


def write_labels(folder: Path, spec: DataSetSpec, name: str, gathered: Gathered, options: Options) -> None:
    """Writes `labels.json`, the labels of a prepared set, which `prepared.read_labels_json` reads."""
    rows, images = gathered.rows, gathered.images
    sessions = dict.fromkeys(session for row in rows for session in row.splits)
    categories = [spec.category(row.raw_distortion) for row in rows]
    content = {
        "format": FORMAT,
        "name": name,
        "slug": spec.slug,
        "mos_range": gathered.mos_range,
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in options.items()},
        "names": [row.name for row in rows],
        "mos": [row.mos for row in rows],
        "raw_distortion": [row.raw_distortion for row in rows],
        "distortion": [DISTORTION.labels.index(label) if label else UNKNOWN for label in categories],
        "scenes": [[SCENE.labels.index(scene) for scene in row.scenes] for row in rows],
        "reference": [row.reference for row in rows],
        "splits": {session: [row.splits.get(session, "") for row in rows] for session in sessions},
        "sizes": [(image.width, image.height) for image in images],
        "sha256": [image.sha256 for image in images],
        "report": dataclasses.asdict(gathered.report),
    }
    (folder / FILE).write_text(json.dumps(content, separators=(",", ":")), "utf-8")


def _content_of(image: PreparedImage) -> bytes:
    """The encoded image, if its file has not changed since it was prepared."""
    try:
        content = read_bytes(image.path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{image.path} cannot be read any more ({reason_of(error)}). Put it back and run the command again: "
            "finished images are kept."
        ) from error
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise DataError(f"{image.path} changed while the set was prepared. Run the command again.")
    return content


def _builder_class(spec: DataSetSpec) -> type[LabelledBuilder]:
    attributes = {
        "name": spec.slug,
        "SPEC": spec,
        "MANUAL_DOWNLOAD_INSTRUCTIONS": f"{spec.url}\nPut the files into the manual directory, unpacked:\n{spec.tree}",
        "__doc__": f"{spec.title}.",
        "__module__": __name__,
    }
    return type("".join(word.capitalize() for word in spec.slug.split("_")), (LabelledBuilder,), attributes)


BUILDERS = MappingProxyType({slug: _builder_class(spec) for slug, spec in specs().items()})


def builder_for(spec: DataSetSpec, data_dir: Path, name: str | None = None, **settings: Any) -> LabelledBuilder:
    """The builder of a set; `name` is for sets of the user's data.

    Raises:
      DataError: a name is given for a published set.
    """
    if spec.count is None:
        settings["config"] = tfds.core.BuilderConfig(name=name or UNNAMED)
    elif name:
        raise DataError(f"{spec.name} has a name already; --name is for your own data.")
    return BUILDERS[spec.slug](data_dir=str(data_dir), **settings)
