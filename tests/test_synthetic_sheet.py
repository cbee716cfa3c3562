"""The table of MOS, the sheet, and the commands about distortions."""

from __future__ import annotations

import zipfile
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from liqe_jax.cli.main import main
from liqe_jax.errors import DataError, UsageError
from liqe_jax.synthetic import KINDS, LEVELS, distort
from liqe_jax.synthetic.mos import mean_mos
from liqe_jax.synthetic.sheet import CAPTION, LINE, MARGIN, sheet
from tools.mos_table import FILES, FOLDER, read_scores, table

from .conftest import photograph


def test_mos_are_on_the_scale_of_kadid():
    found = np.array([[mean_mos(kind, level) for level in LEVELS] for kind in KINDS])
    assert found.shape == (25, 5, 2)
    assert ((found[..., 0] > 1) & (found[..., 0] < 5)).all()
    assert ((found[..., 1] > 0.05) & (found[..., 1] < 1)).all()
    assert mean_mos(10, 5) == (1.3502, 0.1822)
    low, high = mean_mos(10, 4), mean_mos(10, 3)
    assert mean_mos(10, 3.25) == pytest.approx([0.75 * b + 0.25 * a for a, b in zip(low, high, strict=True)])
    # People like strong distortions less; shifts and contrasts (18, 25) have their weakest level in the middle.
    falling = [np.diff(found[kind - 1, :, 0]).max() for kind in KINDS if kind not in (5, 18, 25)]
    assert max(falling) < 0
    assert [int(found[kind - 1, :, 0].argmax()) + 1 for kind in (18, 25)] == [3, 3]


@pytest.mark.parametrize(("kind", "level"), [(0, 1), (26, 1), (1.5, 1), (1, 0), (1, 5.5), (1, float("nan"))])
def test_mos_of_unknown_kinds_and_levels(kind, level):
    with pytest.raises(UsageError, match="a kind from 1 to 25"):
        mean_mos(kind, level)


@pytest.mark.goldens
def test_the_table_is_what_the_label_files_give(goldens, tmp_path):
    with zipfile.ZipFile(goldens.parent / "liqe_labels.zip") as archive:
        archive.extractall(tmp_path, [f"{FOLDER}/{name}" for name in FILES])
    scores = read_scores(tmp_path)
    assert table(scores) == (files("liqe_jax.assets") / "kadid10k_mos.csv").read_text("utf-8")
    assert mean_mos(3, 2)[0] == pytest.approx(scores[2, 1].mean(), abs=1e-4)


def test_label_files_with_faults(tmp_path):
    with pytest.raises(DataError, match="Cannot read"):
        read_scores(tmp_path)
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text("images/I01_01_01.png\t4.5\tgaussian blur\tanimal\tinvalid\tinvalid\n")
    with pytest.raises(DataError, match="10,124 of 10,125 images have no score"):
        read_scores(tmp_path)
    (folder / FILES[0]).write_text("images/1.png\t4.5\n")
    with pytest.raises(DataError, match=r"'images/1.png' is not named"):
        read_scores(tmp_path)


def test_sheet_shows_every_cell():
    picture = photograph(90, 120)
    page = sheet(picture, cell=120, seed=4)
    width, height = 120 + MARGIN, 90 + LINE + MARGIN
    assert page.shape == (MARGIN + 25 * height, CAPTION + 6 * width, 3)
    for kind in KINDS:
        for column in range(6):
            cell = page[MARGIN + (kind - 1) * height :, CAPTION + column * width :][:90, :120]
            pixels = picture.astype(np.float32) / 255
            expected = distort(pixels, kind, column, 4) if column else pixels
            np.testing.assert_array_equal(cell, np.rint(expected * 255).astype(np.uint8))
    with pytest.raises(UsageError, match="cells of 32 to 512"):
        sheet(picture, cell=20)


def test_commands(tmp_path, capsys):
    Image.fromarray(photograph(90, 120)).save(tmp_path / "photo.png")
    page = tmp_path / "sheet.png"
    assert main(["synthetic", "sheet", str(tmp_path / "photo.png"), "--output", str(page), "--cell", "64"]) == 0
    with Image.open(page) as image:
        assert str(image.width) in capsys.readouterr().out
    assert main(["synthetic", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 25
    assert "jpeg compression" in lines[9]
    assert "43 (4.34)" in lines[9]
    assert main(["synthetic", "sheet", str(tmp_path / "photo.png"), "-o", str(tmp_path / "sheet.gif")]) == 2
    assert main(["synthetic", "sheet", str(tmp_path / "photo.png"), "-o", str(tmp_path / "no" / "sheet.png")]) == 2
    assert main(["synthetic", "sheet", str(tmp_path / "absent.png"), "-o", str(page)]) == 2
    assert "Choose another --output" in capsys.readouterr().err
