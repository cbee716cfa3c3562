"""The data set `synthetic`: photographs in, 125 distorted copies of each out."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from liqe_jax.cli.main import main
from liqe_jax.data.labelled import SPLITS
from liqe_jax.data.prepare.run import prepare
from liqe_jax.data.prepare.verify import verify
from liqe_jax.data.reading.prepared import load_set
from liqe_jax.data.sets import specs
from liqe_jax.data.sets.spec import SESSIONS
from liqe_jax.data.sets.synthetic import divide, name_of
from liqe_jax.errors import DataError
from liqe_jax.synthetic import KINDS, distort
from liqe_jax.synthetic.mos import mean_mos
from liqe_jax.taxonomy import DISTORTION

from .conftest import photograph


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    Image.fromarray(photograph(96, 80, 0)).save(folder / "a.png")
    Image.fromarray(photograph(160, 700, 1)).save(folder / "more" / "a.png")
    return folder


def pixels(prepared, position):
    (encoded,) = prepared.read([position])
    return np.asarray(Image.open(io.BytesIO(encoded)))


@pytest.fixture(scope="module")
def prepared(photos, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("prepared")
    _, report = prepare("synthetic", photos, data_dir, own_name="mine", quiet=True)
    assert (report.stored, report.made, report.resized, report.converted) == (250, 250, 0, 0)
    assert "250 created from photographs" in report.text()
    assert not verify("mine", data_dir, quiet=True).faults
    return load_set("mine", data_dir)


def test_every_kind_and_level_of_every_photograph(prepared):
    cells = [(photo, kind, level) for photo in ("a.png", "more/a.png") for kind in KINDS for level in range(1, 6)]
    assert list(prepared.names) == [name_of(*cell) for cell in cells]
    for position, (photo, kind, level) in enumerate(cells):
        assert prepared.mos[position] == pytest.approx(mean_mos(kind, level)[0])
        assert prepared.raw_distortion[position] == KINDS[kind].raw_label
        assert DISTORTION.labels[prepared.distortion[position]] == KINDS[kind].category
        assert prepared.reference[position] == photo
    assert tuple(prepared.mos_range) == (1, 5)
    assert not prepared.scenes.any()


def test_images_are_distorted_photographs(prepared):
    position = list(prepared.names).index("a.png/01_05")
    expected = distort(photograph(96, 80, 0).astype(np.float32) / 255, 1, 5, 0)
    np.testing.assert_array_equal(pixels(prepared, position), np.rint(expected * 255).astype(np.uint8))
    # 160 x 700, shrunk to a longest side of 512.
    assert [pixels(prepared, position).shape for position in (125, 249)] == [(117, 512, 3)] * 2


def test_parts_keep_photographs_together():
    names = [f"{number}.jpg" for number in range(81)]
    parts = divide(names, 0)
    for session in SESSIONS:
        counts = Counter(parts[name][session] for name in names)
        assert [counts[part] for part in SPLITS] == [57, 8, 16]  # as LIQE divides KADID-10k
    assert len({tuple(parts[name][session] for name in names) for session in SESSIONS}) == len(SESSIONS)
    assert divide(names, 0) == parts != divide(names, 1)


def test_seed_and_choice(photos, tmp_path):
    def images(seed, data_dir):
        command = ["data", "prepare", "synthetic", "--manual-dir", str(photos), "--data-dir", str(data_dir), "--quiet"]
        assert main([*command, "--kinds", "11", "1", "--levels", "5", "--seed", str(seed)]) == 0
        found = load_set("synthetic", data_dir)
        assert [name[-5:] for name in found.names] == ["01_05", "11_05"] * 2
        return [pixels(found, position) for position in range(2)]

    blurred, noisy = images(3, tmp_path / "a")
    blurred_again, noisy_again = images(3, tmp_path / "b")
    blurred_other, noisy_other = images(4, tmp_path / "c")
    np.testing.assert_array_equal(noisy, noisy_again)
    np.testing.assert_array_equal(blurred, blurred_again)
    np.testing.assert_array_equal(blurred, blurred_other)
    assert (noisy != noisy_other).mean() > 0.5


@pytest.mark.parametrize("options", [{"kinds": (26,)}, {"levels": (0,)}, {"seed": -1}])
def test_wrong_choice(photos, tmp_path, options):
    with pytest.raises(DataError, match="kinds from 1 to 25, levels from 1 to 5"):
        prepare("synthetic", photos, tmp_path, options, quiet=True)


def test_options_of_other_sets(photos, tmp_path):
    with pytest.raises(DataError, match="folder_csv does not take --kinds"):
        prepare("folder_csv", photos, tmp_path, {"kinds": (1,)}, quiet=True)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "readme.txt").write_text("no photographs")
    with pytest.raises(DataError, match="No photograph"):
        prepare("synthetic", tmp_path / "none", tmp_path / "data", quiet=True)


def test_a_photograph_that_is_too_small_is_named(photos, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(photograph(60, 80)).save(tmp_path / "photos" / "small.png")
    with pytest.raises(DataError, match=r"small.png/01_01: Expected float32 values .* 64 to 32766 pixels a side"):
        prepare("synthetic", tmp_path / "photos", tmp_path / "data", quiet=True)
    assert specs()["synthetic"].mos_range == [1, 5]
