"""Data sets, on fakes in their exact official form and on the real label files alone."""

from __future__ import annotations

import builtins
import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liqe_jax.cli.main import main
from liqe_jax.data.labelled import SPLITS, UNKNOWN
from liqe_jax.data.named import load_sets
from liqe_jax.data.prepare import images
from liqe_jax.data.prepare.gather import gather
from liqe_jax.data.prepare.run import prepare
from liqe_jax.data.prepare.verify import verify
from liqe_jax.data.reading.evaluation import evaluation_images
from liqe_jax.data.reading.prepared import find_prepared, load_set
from liqe_jax.data.reading.training import Broken, training_batches
from liqe_jax.data.sets import find_spec, specs
from liqe_jax.data.sets.csv_files import kadid_distortion
from liqe_jax.data.sets.files import FileIndex
from liqe_jax.data.sets.liqe_labels import read_labels, read_set
from liqe_jax.data.sets.spec import SESSIONS
from liqe_jax.errors import DataError
from liqe_jax.images.preprocess import PRESETS, resize_short_side
from liqe_jax.synthetic import KINDS
from liqe_jax.taxonomy import DISTORTION, SCENE
from tests import fakes

ROOT = Path(__file__).parent.parent

COUNTS = {"live": 779, "csiq": 58, "kadid10k": 250, "bid": 6, "clive": 5, "koniq10k": 6} | {
    "tid2013": 96,
    "spaq": 4,
    "pipal": 6,
    "agiqa3k": 6,
    "flive": 4,
    "folder_csv": 5,
}


@pytest.fixture(scope="session")
def originals(tmp_path_factory) -> Path:
    """Fakes of all sets, a folder each, and LIQE's label files in LIQE/. Read-only: copy before changing them."""
    root = tmp_path_factory.mktemp("originals")
    for slug, fake in fakes.WITH_LIQE.items():
        (root / slug).mkdir()
        fake(root / slug, root / "LIQE")
    for slug, fake in fakes.OTHERS.items():
        (root / slug).mkdir()
        fake(root / slug)
    return root


@pytest.fixture(scope="session")
def prepared(originals, tmp_path_factory) -> tuple[Path, dict]:
    """All fakes prepared into one data directory, and the reports."""
    data_dir = tmp_path_factory.mktemp("prepared")
    reports = {}
    for slug in specs():
        if slug in COUNTS:
            options = {"labels": originals / "LIQE"} if slug in fakes.WITH_LIQE else None
            _, reports[slug] = prepare(slug, originals / slug, data_dir, options, quiet=True)
    return data_dir, reports


def rows_of(slug: str, folder: Path, **options):
    spec = specs()[slug]
    return read_set(spec, FileIndex(folder, spec.title, spec.tree), spec.complete(options))


@pytest.mark.parametrize("slug", COUNTS)
def test_every_set_is_prepared_and_read_back(slug, prepared):
    data_dir, reports = prepared
    report = reports[slug]
    assert (report.stored, report.labelled) == (COUNTS[slug], COUNTS[slug])
    assert not report.missing
    assert not report.unreadable
    loaded = load_set(slug, data_dir)
    assert len(loaded) == len(set(loaded.names)) == COUNTS[slug]
    low, high = loaded.mos_range
    assert ((low <= loaded.mos) & (loaded.mos <= high)).all()
    assert loaded.scenes.shape == (len(loaded), len(SCENE.labels))
    assert not verify(slug, data_dir, quiet=True).faults


@pytest.mark.parametrize("slug", COUNTS)
def test_what_is_stored_equals_the_original_after_the_references_resizing(slug, prepared, originals):
    loaded = load_set(slug, prepared[0])
    index = FileIndex(originals / slug)
    for position in np.linspace(0, len(loaded) - 1, 8).astype(int).tolist():
        name = loaded.names[position]
        path = index.find(specs()[slug].places(name))
        (stored,) = loaded.read([position])
        original = np.asarray(Image.open(path).convert("RGB"))
        expected = resize_short_side(original)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored)).convert("RGB")), expected)
        if expected is original and path.suffix.lower() in (".jpg", ".png", ".bmp"):
            assert stored == path.read_bytes()
        else:
            assert stored.startswith(b"\x89PNG")


def test_large_photographs_are_shrunk_and_counted(prepared):
    _, reports = prepared
    assert {slug: report.resized for slug, report in reports.items() if report.resized} == {"bid": 1, "spaq": 1}
    assert {slug: report.converted for slug, report in reports.items() if report.converted} == {"folder_csv": 2}
    (stored,) = load_set("spaq", prepared[0]).read([0])
    assert Image.open(io.BytesIO(stored)).size == (1024, 768)  # not rotated, although EXIF says so


def test_tfds_reads_the_records_by_itself(prepared):
    import tensorflow_datasets as tfds

    loaded = load_set("csiq", prepared[0])
    source = tfds.builder_from_directory(str(prepared[0] / "csiq" / "1.0.0")).as_data_source("full")
    assert len(source) == len(loaded)
    for position in (0, 31, 57):
        example = source[position]
        assert example["name"].decode() == loaded.names[position]
        assert example["mos"] == np.float32(loaded.mos[position])
        assert example["distortion"] == loaded.distortion[position]
        np.testing.assert_array_equal(example["scenes"], loaded.scenes[position])
        assert example["reference"].decode() == loaded.reference[position]
        pairs = zip(example["splits"]["session"], example["splits"]["split"], strict=True)
        splits = {session.decode(): split.decode() for session, split in pairs}
        assert splits == {session: loaded.splits[session][position] for session in SESSIONS}
        decoded = np.asarray(Image.open(io.BytesIO(loaded.read([position])[0])))
        np.testing.assert_array_equal(example["image"], decoded)


def test_labels_of_an_earlier_version_are_read(prepared, tmp_path):
    folder = tmp_path / "csiq" / "1.0.0"
    shutil.copytree(prepared[0] / "csiq" / "1.0.0", folder)
    content = json.loads((folder / "labels.json").read_text())
    content["parts"] = content.pop("splits")
    (folder / "labels.json").write_text(json.dumps(content))
    assert load_set("csiq", tmp_path).splits == load_set("csiq", prepared[0]).splits


def test_a_builder_works_through_tfds_alone(originals, tmp_path):
    import tensorflow_datasets as tfds

    import liqe_jax.data.prepare.builders  # noqa: F401

    manual = tmp_path / "manual"
    shutil.copytree(originals / "clive", manual / "clive")
    shutil.copytree(originals / "LIQE" / "IQA_Database", manual / "IQA_Database")  # found without an option
    builder = tfds.builder("clive", data_dir=str(tmp_path / "data"), quiet=True)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(manual)))
    assert builder.info.splits["full"].num_examples == 5
    assert set(load_set("CLIVE", tmp_path / "data").splits) == set(SESSIONS)


def test_sessions_partition_the_six_sets_of_liqe(prepared):
    for slug in fakes.WITH_LIQE:
        loaded = load_set(slug, prepared[0])
        for session in SESSIONS:
            indices = np.concatenate([loaded.indices(session, part) for part in SPLITS])
            np.testing.assert_array_equal(np.sort(indices), np.arange(len(loaded)))


def test_without_liqes_labels_scores_are_the_official_ones(originals, tmp_path):
    for slug in fakes.WITH_LIQE:
        official = {row.name.lower(): row for row in rows_of(slug, originals / slug).rows}
        labels = rows_of(slug, originals / slug, labels=originals / "LIQE")
        assert len(labels.rows) == len(official) == COUNTS[slug]
        for row in labels.rows:
            assert official[row.name.lower()].mos == pytest.approx(row.mos, abs=6e-4 if slug == "csiq" else 1e-6)
            assert not official[row.name.lower()].scenes
        assert not [note for note in labels.anomalies if "another score" in note or "only" in note]


def test_disagreements_between_official_and_liqes_scores_are_named(originals, tmp_path):
    shutil.copytree(originals / "clive" / "ChallengeDB_release" / "Data", tmp_path / "Data")
    shutil.copytree(originals / "LIQE", tmp_path / "LIQE")
    for path in (tmp_path / "LIQE").rglob("clive_*_clip.txt"):
        path.write_text(path.read_text().replace("3.420000", "3.500000").replace("Images/6.JPG", "Images/7.JPG"))
    labels = rows_of("clive", tmp_path, labels=tmp_path / "LIQE")
    notes = " ".join(labels.anomalies)
    assert "1 images have different MOS" in notes
    assert "Images/5.JPG (3.5, official 3.42)" in notes
    assert "1 images are in LIQE's label files only; they are kept: Images/7.JPG" in notes
    assert "1 images are in the official label file only; they are ignored: Images/6.JPG" in notes


# One set after the other: what is special about each.


def test_live_drops_copies_by_orgs_and_keeps_a_dmos_of_zero(originals):
    rows = rows_of("live", originals / "live").rows
    folders = Counter(row.name.split("/")[0] for row in rows)
    assert folders == {"jp2k": 169, "jpeg": 175, "wn": 145, "gblur": 145, "fastfading": 145}
    by_name = {row.name: row for row in rows}
    assert by_name["jp2k/img1.bmp"].mos == pytest.approx(111.774693)
    assert by_name["jp2k/img2.bmp"].mos == 0
    assert by_name["fastfading/img3.bmp"].raw_distortion == "fastfading"
    assert by_name["wn/img3.bmp"].reference.startswith("original")


def test_live_fast_fading_labels_are_kept_or_corrected(originals):
    kept = rows_of("live", originals / "live", labels=originals / "LIQE")
    fixed = rows_of("live", originals / "live", labels=originals / "LIQE", fix_live_fastfading=True)
    assert any("145 fast-fading images have" in note for note in kept.anomalies)
    assert any("145 fast-fading images were given" in note for note in fixed.anomalies)
    white = {row.name: row for row in kept.rows if row.name.startswith("wn/")}
    scenes_of = {row.reference: row.scenes for row in white.values()}
    changed = 0
    for before, after in zip(kept.rows, fixed.rows, strict=True):
        if not before.name.startswith("fastfading/"):
            assert before == after
            continue
        twin = white[before.name.replace("fastfading", "wn")]
        assert (before.raw_distortion, before.scenes) == (twin.raw_distortion, twin.scenes)
        assert after.raw_distortion == "fastfading"
        assert specs()["live"].category("fastfading") == "jpeg2000 compression"
        assert after.scenes == scenes_of[after.reference]
        assert (after.mos, after.splits) == (before.mos, before.splits)
        changed += before.scenes != after.scenes
    assert changed > 20


def test_live_correction_needs_to_know_the_originals(originals, tmp_path):
    with pytest.raises(DataError, match=r"refnames_all\.mat is missing"):
        rows_of("live", tmp_path, labels=originals / "LIQE", fix_live_fastfading=True)


def test_live_arrays_of_another_length_are_refused(originals, tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / "dmos_realigned.mat", {"dmos_new": np.zeros((1, 779)), "orgs": np.zeros((1, 779))})
    with pytest.raises(DataError, match="dmos_new has 779 entries, expected 982"):
        rows_of("live", tmp_path)


def test_csiq_reads_the_integer_cell_and_upper_case_folders(originals, tmp_path):
    rows = rows_of("csiq", originals / "csiq").rows
    assert Counter(row.reference for row in rows) == {"1600": 29, "elk": 29}
    assert rows[0].name == "dst_imgs/awgn/1600.AWGN.1.png"
    fakes.csiq(tmp_path, upper=True)
    gathered = gather(specs()["csiq"], tmp_path, tmp_path / "cache", {}, quiet=True)
    assert gathered.report.stored == 58


def test_csiq_flat_mirror_is_found(originals, tmp_path):
    shutil.copy(originals / "csiq" / "csiq.DMOS.xlsx", tmp_path)
    (tmp_path / "dst_imgs_all").mkdir()
    for path in (originals / "csiq" / "dst_imgs").rglob("*.png"):
        shutil.copy(path, tmp_path / "dst_imgs_all")
    assert gather(specs()["csiq"], tmp_path, tmp_path / "c", {}, quiet=True).report.stored == 58


def test_kadid_references_and_distortions_come_from_names(originals, prepared):
    loaded = load_set("KADID-10k", prepared[0])
    for name, raw, reference in zip(loaded.names, loaded.raw_distortion, loaded.reference, strict=True):
        stem, kind, _ = Path(name).stem.split("_")
        assert (reference, raw) == (stem, KINDS[int(kind)].raw_label)
    rows = rows_of("kadid10k", originals / "kadid10k").rows
    assert rows[0].name == "images/I01_01_01.png"
    with pytest.raises(DataError, match="expected a name such as"):
        kadid_distortion("I01_26_01.png")


def test_bid_names_rows_whose_grades_disagree(originals):
    (note,) = [n for n in rows_of("bid", originals / "bid").anomalies if "grades" in n]
    assert "DatabaseImage0345.JPG" in note
    assert "0001" not in note


def test_clive_skips_training_images(originals):
    names = [row.name for row in rows_of("clive", originals / "clive").rows]
    assert names == ["Images/3.bmp", "Images/4.bmp", "Images/5.JPG", "Images/6.JPG", "Images/1164.JPG"]


def test_koniq_takes_the_mean_rating_and_the_official_split(originals, prepared, tmp_path):
    loaded = load_set("koniq10k", prepared[0])
    assert Counter(loaded.splits["official"]) == {"train": 2, "val": 2, "test": 2}
    assert loaded.mos.max() < 5
    assert all(Image.open(io.BytesIO(b)).size == (1024, 768) for b in loaded.read(range(6)))
    # The split file alone gives the same scores, from its rating shares.
    shutil.copy(originals / "koniq10k" / "koniq10k" / "koniq10k_distributions_sets.csv", tmp_path)
    alone = {row.name: row.mos for row in rows_of("koniq10k", tmp_path).rows}
    assert alone == pytest.approx(dict(zip(loaded.names, loaded.mos, strict=True)), abs=1e-6)


def test_koniq_smaller_copies_are_not_taken(originals, tmp_path):
    shutil.copytree(originals / "koniq10k", tmp_path / "koniq")
    shutil.rmtree(tmp_path / "koniq" / "koniq10k" / "1024x768")
    with pytest.raises(DataError, match="No image, such as"):
        gather(specs()["koniq10k"], tmp_path / "koniq", tmp_path / "c", {}, quiet=True)


def test_tid_files_are_found_whatever_their_case(originals, prepared):
    loaded = load_set("tid2013", prepared[0])
    assert set(loaded.reference) == {"I01", "I25"}
    assert loaded.names[0] == "distorted_images/I01_01_1.bmp"
    noise = loaded.distortion[list(loaded.raw_distortion).index("impulse noise")]
    assert DISTORTION.labels[noise] == "noise"
    assert loaded.distortion[list(loaded.raw_distortion).index("comfort noise")] == UNKNOWN
    assert all(b.startswith(b"BM") for b in loaded.read(range(len(loaded))))


def test_tid_archive_left_unpacked_is_named(tmp_path):
    (tmp_path / "tid2013.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match=r"not unpacked: tid2013\.rar.*unrar x"):
        rows_of("tid2013", tmp_path)


def test_zip_left_unpacked_is_named(tmp_path):
    (tmp_path / "kadid10k.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"not unpacked: kadid10k\.zip"):
        rows_of("kadid10k", tmp_path)


def test_spaq_scenes_are_probabilities_above_zero(prepared):
    loaded = load_set("spaq", prepared[0])
    human, city, others = (SCENE.labels.index(scene) for scene in ("human", "cityscape", "others"))
    assert loaded.scenes[:, human].all()
    np.testing.assert_array_equal(np.flatnonzero(loaded.scenes[:, city]), [1])
    np.testing.assert_array_equal(np.flatnonzero(loaded.scenes[:, others]), [3])


@pytest.mark.parametrize("folder", ["Dist_Imgs", "Train_Dist"])
def test_pipal_single_folder_mirrors_are_found(folder, originals, tmp_path):
    shutil.copytree(originals / "pipal" / "Train_Label", tmp_path / "Train_Label")
    (tmp_path / folder).mkdir()
    for path in (originals / "pipal").rglob("Distortion_*/*.bmp"):
        shutil.copy(path, tmp_path / folder)
    gathered = gather(specs()["pipal"], tmp_path, tmp_path / "c", {}, quiet=True)
    assert gathered.report.stored == 6
    assert gathered.rows[0].raw_distortion == "00_00"


def test_flive_official_split(originals, prepared, tmp_path):
    loaded = load_set("flive", prepared[0])
    assert loaded.splits["official"] == ("test", "train", "val", "train")
    assert loaded.names[1].endswith(".JPG")
    shutil.copy(originals / "flive" / "labels_image.csv", tmp_path)
    alone = rows_of("flive", tmp_path)
    assert not any(row.splits for row in alone.rows)
    assert "labels640.csv was not found" in alone.anomalies[0]


def test_own_folder_with_every_column(prepared):
    loaded = load_set("folder_csv", prepared[0])
    assert loaded.names == ("a.jpg", "b.png", "deep/c.webp", "deep/d.tif", "e.bmp")
    assert loaded.mos_range == (1.5, 5.25)
    assert loaded.splits == {"own": ("train", "val", "test", "", "train"), "b": ("test", "", "train", "", "val")}
    labels = [DISTORTION.labels[i] if i != UNKNOWN else "" for i in loaded.distortion]
    assert labels == ["spatial", "blur", "", "", "overexposure"]
    assert [int(row.sum()) for row in loaded.scenes] == [2, 0, 1, 0, 0]
    assert loaded.reference == ("r1", "r1", "", "", "")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,score\na.jpg,1\n", "no column mos; its columns are image, score"),
        ("image,mos\na.jpg,good\n", "row 2: expected a number, got 'good'"),
        ("image,mos\na.jpg,nan\n", "expected a number"),
        ("image,mos\na.jpg,1\n./a.jpg,2\n", r"row 3: a\.jpg is in row 2 already"),
        ("image,mos,scenes\na.jpg,1,beach\n", "unknown scene 'beach'"),
        ("image,mos,distortion\na.jpg,1,ugly\n", "unknown distortion 'ugly'"),
        ("image,mos,split\na.jpg,1,training\n", "split is 'training'; expected train, val, test"),
        ("image,mos,split\na.jpg,1\n", "expected 3 values, got 2"),
        ("image,mos\na.jpg,3,5\n", "expected 2 values, got 3.*points, not commas"),
        ("image,mos\n", "no rows below its header"),
        ("image;mos\na.jpg;1,5\n", "separates its columns with ';'; expected commas"),
        ("image\tmos\na.jpg\t1\n", r"separates its columns with '\\t'; expected commas"),
    ],
)
def test_own_table_with_a_fault_is_refused(table, message, tmp_path):
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        rows_of("folder_csv", tmp_path)


@pytest.mark.parametrize(("encoding", "byte"), [("cp1252", "0xe9"), ("utf-16", "0xff")])
def test_own_table_in_another_encoding_is_refused(encoding, byte, tmp_path):
    (tmp_path / "labels.csv").write_text("image,mos\ncafé.jpg,1\n", encoding)
    with pytest.raises(DataError, match=f"not in UTF-8: byte {byte}.*Save it as UTF-8"):
        rows_of("folder_csv", tmp_path)


def test_own_table_has_to_be_chosen_among_several(originals, tmp_path):
    shutil.copytree(originals / "folder_csv", tmp_path / "own")
    with (tmp_path / "own" / "other.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "mos"], ["a.jpg", 70]])
    with pytest.raises(DataError, match=r"2 CSV files below .*Choose one with --table"):
        rows_of("folder_csv", tmp_path / "own")
    labels = rows_of("folder_csv", tmp_path / "own", table=Path("other.csv"), mos_range=(0.0, 100.0))
    assert (len(labels.rows), labels.mos_range) == (1, (0.0, 100.0))
    with pytest.raises(DataError, match="outside of --mos-range 0 50, for example 70"):
        rows_of("folder_csv", tmp_path / "own", table=Path("other.csv"), mos_range=(0.0, 50.0))


def test_own_images_are_taken_by_their_path(tmp_path):
    for seed, name in enumerate(("a.jpg", "copy/a.jpg", "x/b.jpg", "y/c.jpg")):
        fakes.picture(tmp_path / "own" / name, seed)
    (tmp_path / "own" / "t.csv").write_text("image,mos\na.jpg,1\nx/b.jpg,2\nx/c.jpg,3\n")
    with pytest.raises(DataError, match=r"1 missing:\n  x/c\.jpg"):
        gather(specs()["folder_csv"], tmp_path / "own", tmp_path / "c", {}, quiet=True)
    rest = gather(
        specs()["folder_csv"],
        tmp_path / "own",
        tmp_path / "c",
        {},
        allow_missing=True,
        quiet=True,
    )
    assert [image.path for image in rest.images] == [str(tmp_path / "own" / name) for name in ("a.jpg", "x/b.jpg")]


# LIQE's label files.


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Images/3.bmp\t1.0\trealistic blur\thuman\tinvalid", "expected 6 fields between tabs, got 5"),
        ("Images/3.bmp\t1.0\tbokeh\thuman\tinvalid\tinvalid", "unknown distortion 'bokeh'"),
        ("Images/3.bmp\t1.0\trealistic blur\tsea\tinvalid\tinvalid", "unknown scene 'sea'"),
        ("Images/3.bmp\tx\trealistic blur\thuman\tinvalid\tinvalid", "expected a number"),
        ("Images/4.bmp\t1.0\trealistic blur\thuman\tinvalid\tinvalid", r"other labels than in session 1|two splits"),
    ],
)
def test_a_faulty_liqe_file_is_refused(line, message, originals, tmp_path):
    splits = tmp_path / "splits2"
    shutil.copytree(originals / "LIQE" / "IQA_Database" / "ChallengeDB_release" / "splits2", splits)
    path = splits / "4" / "clive_val_clip.txt"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        read_labels(splits, "clive")


def test_missing_sessions_and_images_are_refused(originals, tmp_path):
    source = originals / "LIQE" / "IQA_Database" / "ChallengeDB_release"
    with pytest.raises(DataError, match=r"expected IQA_Database/databaserelease2/splits2"):
        rows_of("live", tmp_path, labels=tmp_path)
    assert rows_of("clive", originals / "clive", labels=source).rows  # the set's folder will do
    shutil.copytree(source / "splits2", tmp_path / "splits2")
    (tmp_path / "splits2" / "7" / "clive_val_clip.txt").write_text("")
    with pytest.raises(DataError, match="1 images of other sessions are missing"):
        read_labels(tmp_path / "splits2", "clive")
    (tmp_path / "splits2" / "7" / "clive_val_clip.txt").unlink()
    with pytest.raises(DataError, match="Cannot read"):
        read_labels(tmp_path / "splits2", "clive")


@pytest.mark.goldens
def test_official_row_counts_of_the_real_label_files(goldens, tmp_path):
    with zipfile.ZipFile(goldens.parent / "liqe_labels.zip") as archive:
        archive.extractall(tmp_path)
    parts = {
        "live": (538, 81, 160), "csiq": (607, 87, 172), "kadid10k": (7125, 1000, 2000),
        "bid": (410, 59, 117), "clive": (813, 116, 233), "koniq10k": (7051, 1007, 2015),
    }  # fmt: skip
    (tmp_path / "empty").mkdir()
    for slug, expected in parts.items():
        spec = specs()[slug]
        labels = rows_of(slug, tmp_path / "empty", labels=tmp_path)
        assert len(labels.rows) == spec.count == sum(expected)
        session = Counter(row.splits["1"] for row in labels.rows)
        assert tuple(session[part] for part in SPLITS) == expected
        low, high = spec.mos_range
        assert all(low <= row.mos <= high for row in labels.rows)
        assert all(set(row.splits) == set(SESSIONS) and row.scenes for row in labels.rows)
    live = rows_of("live", tmp_path / "empty", labels=tmp_path)
    assert any("145 fast-fading images have" in note for note in live.anomalies)
    assert sum(row.mos > 100 for row in live.rows) == 77
    kadid = rows_of("kadid10k", tmp_path / "empty", labels=tmp_path)
    assert all(row.raw_distortion == kadid_distortion(row.name) for row in kadid.rows)
    csiq = rows_of("csiq", tmp_path / "empty", labels=tmp_path)
    assert Counter(Counter(row.reference for row in csiq.rows).values()) == {29: 26, 28: 4}


@pytest.mark.goldens
def test_official_files_of_bid_and_agiqa(goldens, tmp_path):
    official = goldens.parent / "official_labels"
    (tmp_path / "bid").mkdir()
    shutil.copy(official / "BID_DatabaseGrades.xls", tmp_path / "bid" / "DatabaseGrades.xls")
    with zipfile.ZipFile(goldens.parent / "liqe_labels.zip") as archive:
        archive.extractall(tmp_path / "LIQE")
    labels = rows_of("bid", tmp_path / "bid", labels=tmp_path / "LIQE")
    assert len(rows_of("bid", tmp_path / "bid").rows) == len(labels.rows) == 586
    (note,) = labels.anomalies  # the grades; LIQE's scores agree with the official ones
    assert [int(word[13:17]) for word in note.split() if word.startswith("Database")] == [
        71, 91, 182, 241, 252, 289, 317,
    ]  # fmt: skip
    (tmp_path / "agiqa").mkdir()
    shutil.copy(official / "AGIQA-3K_data.csv", tmp_path / "agiqa" / "data.csv")
    rows = rows_of("agiqa3k", tmp_path / "agiqa").rows
    assert len(rows) == 2982
    assert (rows[0].name, rows[0].mos) == ("AttnGAN_normal_000.jpg", 0.965602553)
    assert max(row.mos for row in rows) == pytest.approx(4.489, abs=1e-3)


# Missing, corrupt, misplaced.


@pytest.fixture
def corrupted(originals, tmp_path) -> Path:
    """AGIQA-3K with one image missing, one cut off, and one that is not an image."""
    folder = tmp_path / "corrupted"
    shutil.copytree(originals / "agiqa3k", folder)
    (folder / "file" / "AttnGAN_normal_001.jpg").unlink()
    cut = folder / "file" / "AttnGAN_normal_002.jpg"
    cut.write_bytes(cut.read_bytes()[:-100])
    (folder / "file" / "sd1.5_lowcorr_000.jpg").write_text("<html>")
    return folder


def test_missing_and_unreadable_images_are_an_error_by_name(corrupted, tmp_path):
    with pytest.raises(DataError) as caught:
        prepare("agiqa3k", corrupted, tmp_path / "data", quiet=True)
    message = str(caught.value)
    assert "3 of 6 images are usable" in message
    assert "1 missing:\n  AttnGAN_normal_001.jpg" in message
    assert "2 unreadable:\n  AttnGAN_normal_002.jpg: The JPEG file is corrupt" in message
    assert "sd1.5_lowcorr_000.jpg: Not an image" in message
    assert "--allow-missing" in message
    with pytest.raises(DataError, match="No prepared data set 'agiqa3k'"):
        load_set("agiqa3k", tmp_path / "data")


def test_missing_images_can_be_left_out(corrupted, tmp_path):
    folder, report = prepare("agiqa3k", corrupted, tmp_path / "data", allow_missing=True, quiet=True)
    assert report.missing == ["AttnGAN_normal_001.jpg"]
    assert list(report.unreadable) == ["AttnGAN_normal_002.jpg", "sd1.5_lowcorr_000.jpg"]
    loaded = load_set("AGIQA-3K", tmp_path / "data")
    assert loaded.names == ("AttnGAN_normal_000.jpg", "sd1.5_lowcorr_001.jpg", "sd1.5_lowcorr_002.jpg")
    np.testing.assert_array_equal(loaded.mos, [0.5, 1.5, 2.5])
    assert loaded.read([2]) == [(corrupted / "file" / "sd1.5_lowcorr_002.jpg").read_bytes()]
    assert json.loads((folder / "labels.json").read_text())["report"]["missing"] == ["AttnGAN_normal_001.jpg"]


def test_a_wrong_folder_shows_what_was_expected_and_found(tmp_path):
    manual = tmp_path / "manual"
    (manual / "holiday" / "beach").mkdir(parents=True)
    (manual / "holiday" / "beach" / "a.jpg").write_bytes(b"")
    (manual / "notes.txt").write_text("")
    with pytest.raises(DataError) as caught:
        prepare("kadid10k", manual, tmp_path / "data", quiet=True)
    message = str(caught.value)
    assert "No dmos.csv" in message
    assert "Expected:\n  kadid10k/\n    dmos.csv\n    images/" in message
    assert "Found:\n  notes.txt\n  holiday/beach/  1 .jpg" in message
    with pytest.raises(DataError, match=r"No folder .*(?s:.*)Expected"):
        prepare("kadid10k", tmp_path / "nowhere", tmp_path / "data", quiet=True)


def test_any_folder_around_the_set_will_do(originals, tmp_path):
    for part in ("", "kadid10k", "../kadid10k"):
        gathered = gather(specs()["kadid10k"], originals / "kadid10k" / part, tmp_path / "c", {}, quiet=True)
        assert gathered.report.stored == 250


def test_two_different_label_files_are_ambiguous(originals, tmp_path):
    shutil.copytree(originals / "clive", tmp_path / "a")
    copy = tmp_path / "b" / "AllMOS_release.mat"
    copy.parent.mkdir()
    shutil.copy(originals / "clive" / "ChallengeDB_release" / "Data" / "AllMOS_release.mat", copy)
    assert len(rows_of("clive", tmp_path).rows) == 5  # the same content twice
    copy.write_bytes(copy.read_bytes() + b"\0")
    with pytest.raises(DataError, match="2 different files AllMOS_release"):
        rows_of("clive", tmp_path)


@pytest.mark.parametrize(
    ("slug", "file", "content"),
    [
        ("csiq", "csiq.DMOS.xlsx", b"<html>sign in</html>"),
        ("clive", "AllImages_release.mat", b"<html>sign in</html>"),
        ("bid", "DatabaseGrades.xls", b"<html>sign in</html>"),
        ("spaq", "MOS and Image attribute scores.xlsx", b"PK\x03\x04"),
        ("kadid10k", "dmos.csv", b"<html>sign in</html>"),
    ],
)
def test_label_files_that_are_something_else(slug, file, content, tmp_path):
    (tmp_path / file).write_bytes(content)
    (tmp_path / "AllMOS_release.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable|has no column"):
        rows_of(slug, tmp_path)


def test_options_for_other_sets_are_refused(originals, tmp_path):
    for slug, options, message in (
        ("csiq", {"fix_live_fastfading": True}, "CSIQ does not take --fix-live-fastfading. It takes --labels."),
        ("spaq", {"labels": tmp_path}, "SPAQ does not take --labels. It takes no options of its own."),
        ("folder_csv", {"seed": 1}, "folder_csv does not take --seed. It takes --table, --columns, --mos-range."),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            prepare(slug, originals / slug, tmp_path / "data", options, quiet=True)
    with pytest.raises(DataError, match="has a name already"):
        prepare("spaq", originals / "spaq", tmp_path / "data", own_name="mine", quiet=True)
    with pytest.raises(DataError, match="cannot name a folder"):
        prepare("folder_csv", originals / "folder_csv", tmp_path / "data", own_name="../x", quiet=True)
    with pytest.raises(DataError, match="Unknown data set 'tid2008'; known are live"):
        find_spec("tid2008")


@pytest.mark.parametrize("module", ["tensorflow_datasets", "array_record.python.array_record_data_source", "openpyxl"])
def test_a_missing_package_is_named_with_its_extra(module, prepared, originals, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    use = {
        "tensorflow_datasets": lambda: prepare("clive", originals / "clive", tmp_path, quiet=True),
        "openpyxl": lambda: rows_of("spaq", originals / "spaq"),
        "array_record.python.array_record_data_source": lambda: load_set("clive", prepared[0]),
    }
    with pytest.raises(DataError, match=r"pip install 'liqe_jax\[data\]'"):
        use[module]()


@pytest.mark.parametrize(
    ("mode", "form", "kept"),
    [
        ("RGB", "JPEG", True), ("L", "JPEG", True), ("CMYK", "JPEG", False), ("RGB", "BMP", True),
        ("P", "BMP", False), ("RGB", "PNG", True), ("L", "PNG", True), ("P", "PNG", False), ("RGBA", "PNG", False),
        ("1", "PNG", False), ("LA", "PNG", False), ("RGB", "WEBP", False), ("RGB", "TIFF", False),
    ],
)  # fmt: skip
def test_bytes_are_kept_only_where_every_decoder_agrees(mode, form, kept, tmp_path):
    import cv2

    path = tmp_path / "image"
    Image.open(io.BytesIO(fakes.encoded(1, (40, 30), "PNG"))).convert(mode).save(path, form)
    done, known = images.prepare_image(path, images.Cache(tmp_path / "cache"))
    assert not known
    assert done.change == (images.KEPT if kept else images.CONVERTED)
    assert (done.width, done.height) == (40, 30)
    stored = Path(done.path).read_bytes()
    assert (stored == path.read_bytes()) == kept
    expected = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(Image.open(done.path).convert("RGB")), expected)
    other = cv2.cvtColor(cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    if form != "JPEG":  # whose decoders round differently
        np.testing.assert_array_equal(other, expected)
    # A second look comes from the cache, and not if its file is gone.
    cache = images.Cache(tmp_path / "cache")
    assert images.prepare_image(path, cache) == (done, True)
    if not kept:
        Path(done.path).unlink()
        assert images.prepare_image(path, cache) == (done, False)


# Interruptions.


def test_an_interrupted_preparation_goes_on_where_it_was(originals, tmp_path, monkeypatch):
    decode, calls = images.decode, []
    lock = threading.Lock()

    def dying(*arguments):
        with lock:
            calls.append(1)
            if len(calls) > 40:
                raise KeyboardInterrupt
        return decode(*arguments)

    monkeypatch.setattr(images, "decode", dying)
    with pytest.raises(KeyboardInterrupt):
        prepare("tid2013", originals / "tid2013", tmp_path, workers=2, quiet=True)
    monkeypatch.setattr(images, "decode", decode)
    journal = tmp_path / ".liqe_prepare" / "tid2013" / "journal.jsonl"
    done = len(journal.read_text().splitlines())
    assert done >= 40
    with journal.open("a") as file:
        file.write('{"key": "cut in the mid')  # as a kill leaves it
    _, report = prepare("tid2013", originals / "tid2013", tmp_path, quiet=True)
    assert (report.stored, report.reused) == (96, done)
    assert not verify("tid2013", tmp_path, quiet=True).faults
    assert not (tmp_path / ".liqe_prepare").exists()


def test_killed_while_it_works(originals, tmp_path):
    """SIGKILL in the middle of examining; the second attempt reuses the first one's shrunk images."""
    script = (
        "import os, signal, sys\n"
        "from liqe_jax.data.prepare import images\n"
        "decode, calls = images.decode, []\n"
        "def dying(*a):\n"
        "    calls.append(1)\n"
        "    if len(calls) > 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return decode(*a)\n"
        "images.decode = dying\n"
        "from liqe_jax.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    command = ["data", "prepare", "bid", "--manual-dir", str(originals / "bid"), "--data-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "--workers", "1", "--quiet"],
        cwd=ROOT, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == -9
    assert list((tmp_path / ".liqe_prepare" / "bid").glob("*.png"))
    _, report = prepare("bid", originals / "bid", tmp_path, quiet=True)
    assert (report.stored, report.reused, report.resized) == (6, 3, 1)


def test_killed_while_it_writes(originals, prepared, tmp_path):
    """What tfds leaves behind is not a data set, and is removed after the next attempt."""
    stale = tmp_path / "clive" / "incomplete.ABC123_1.0.0"
    shutil.copytree(prepared[0] / "clive" / "1.0.0", stale)
    with pytest.raises(DataError, match="there are: none"):
        load_set("clive", tmp_path)
    prepare("clive", originals / "clive", tmp_path, quiet=True)
    assert [path.name for path in (tmp_path / "clive").iterdir()] == ["1.0.0"]


def test_a_changed_original_is_examined_again(originals, tmp_path):
    folder = tmp_path / "agiqa"
    shutil.copytree(originals / "agiqa3k", folder)
    cache = tmp_path / "cache"
    gather(specs()["agiqa3k"], folder, cache, {}, quiet=True)
    fakes.picture(folder / "file" / "AttnGAN_normal_001.jpg", 99, (30, 30))
    again = gather(specs()["agiqa3k"], folder, cache, {}, quiet=True)
    assert again.report.reused == 5
    assert (again.images[1].width, again.images[1].height) == (30, 30)


def test_prepared_sets_are_not_overwritten(originals, prepared):
    with pytest.raises(DataError, match="exists already"):
        prepare("clive", originals / "clive", prepared[0], quiet=True)


def test_order_survives_when_tfds_sorts_on_disk(originals, tmp_path, monkeypatch):
    """Above a gigabyte tfds sorts by way of files; records must spread over them and keep their order."""
    from tensorflow_datasets.core import shuffle

    largest = []
    add = shuffle._Bucket.add
    monkeypatch.setattr(shuffle._Bucket, "add", lambda bucket, *a: (largest.append(bucket._path), add(bucket, *a))[1])
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 10_000)
    prepare("tid2013", originals / "tid2013", tmp_path, quiet=True)
    assert len(largest) == len(set(largest)) == 96
    assert not verify("tid2013", tmp_path, quiet=True).faults


def test_a_full_disk_is_said(originals, tmp_path, monkeypatch):
    from liqe_jax.data.prepare import builders

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(builders, "write_labels", full)
    with pytest.raises(DataError, match=r"No space left on device.*finished images are kept"):
        prepare("clive", originals / "clive", tmp_path, quiet=True)
    monkeypatch.undo()
    _, report = prepare("clive", originals / "clive", tmp_path, quiet=True)
    assert report.reused == 5


# Reading.


def test_records_in_any_order_from_threads(prepared):
    loaded = load_set("live", prepared[0])
    content = json.loads((prepared[0] / "live" / "1.0.0" / "labels.json").read_text())
    rng = np.random.default_rng(0)

    def check(positions) -> bool:
        read = loaded.read(positions)
        return [hashlib.sha256(b).hexdigest() for b in read] == [content["sha256"][p] for p in positions]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(check, [rng.integers(0, len(loaded), 30).tolist() for _ in range(24)]))
    assert check([5, 5, 700])
    assert loaded.read([]) == []
    for outside in (-1, len(loaded)):
        with pytest.raises(DataError, match=r"there are 779 images"):
            loaded.read([outside])


def test_several_files_of_records_are_one_sequence(prepared, tmp_path):
    from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

    from liqe_jax.data.reading.prepared import Records

    path = next((prepared[0] / "tid2013" / "1.0.0").glob("*.array_record*"))
    records = ArrayRecordReader(str(path)).read_all()
    paths = []
    for shard, chosen in enumerate((records[:10], records[10:11], records[11:])):
        paths.append(str(tmp_path / f"x.array_record-{shard}"))
        writer = ArrayRecordWriter(paths[-1], "group_size:1")
        for record in chosen:
            writer.write(record)
        writer.close()
    expected = load_set("tid2013", prepared[0]).read
    positions = [95, 0, 10, 9, 11, 10]
    assert Records(paths)(positions) == expected(positions)


def test_several_sets_of_your_own(originals, tmp_path):
    for name in ("first", "second"):
        prepare("folder_csv", originals / "folder_csv", tmp_path, own_name=name, quiet=True)
    assert load_set("first", tmp_path).name == "first"
    with pytest.raises(DataError, match="2 prepared sets are called 'folder_csv'"):
        load_set("folder_csv", tmp_path)
    with pytest.raises(DataError, match=r"there are: first, folder_csv, second"):
        load_set("third", tmp_path)


@pytest.mark.parametrize("name", ["generated", "generated-2", "Generated"])
def test_names_that_stand_for_others_are_refused(name, originals, prepared, tmp_path):
    with pytest.raises(DataError, match=r"cannot name a set of your own: generated.*Choose another name"):
        prepare("folder_csv", originals / "folder_csv", tmp_path, own_name=name, quiet=True)
    if name.islower():  # one that was prepared before they were
        shutil.copytree(find_prepared("folder_csv", Path(prepared[0])), tmp_path / "folder_csv" / name / "1.0.0")
        with pytest.raises(DataError, match=f"folder_csv/{name}/1.0.0 is a prepared set of that name"):
            load_sets([name], tmp_path)


@pytest.mark.parametrize("name", ["generated_by_gan", "generated-gan", "cropsy", "crops_of_mine"])
def test_names_that_only_begin_like_others_are_allowed(name, originals, tmp_path):
    prepare("folder_csv", originals / "folder_csv", tmp_path, own_name=name, quiet=True)
    (loaded,) = load_sets([name], tmp_path)
    assert (loaded.name, loaded.names[0]) == (name, "a.jpg")


def test_a_corrupt_record_is_an_image_that_cannot_be_read(prepared, tmp_path):
    shutil.copytree(prepared[0] / "clive", tmp_path / "clive")
    (file,) = tmp_path.rglob("*.array_record*")
    content = bytearray(file.read_bytes())
    place = 200  # among the images, not in the list of them, which is at the end
    content[place : place + 8] = bytes(8)
    file.write_bytes(content)
    loaded = load_set("clive", tmp_path)
    with pytest.raises(DataError, match=r"is corrupt .*Prepare the set again"):
        loaded.read(range(len(loaded)))
    indices = np.arange(len(loaded))
    with pytest.raises(DataError, match=r"CLIVE/\S+ cannot be decoded .*Prepare the data set again"):
        list(evaluation_images(loaded, indices, batch_size=2, preset=PRESETS["paper"], image_size=8))
    broken = Broken()
    assert len(list(training_batches([loaded], [2], session="all", seed=0, steps=5, image_size=8, broken=broken))) == 5
    assert broken.names  # replaced, and said


@pytest.mark.parametrize("part", ["array_record", "tensorflow_datasets", "google"])
def test_threads_that_read_import_nothing(part, prepared, monkeypatch):
    """What is imported while another thread imports TensorFlow Datasets cannot be called."""
    loaded = load_set("clive", prepared[0])
    imports = builtins.__import__

    def only_others(name, *rest):
        assert name.split(".")[0] != part
        return imports(name, *rest)

    monkeypatch.setattr("builtins.__import__", only_others)
    with ThreadPoolExecutor(2) as pool:
        images = list(pool.map(loaded.read, [[index] for index in range(len(loaded))]))
    assert all(len(image) > 100 for (image,) in images)


def test_a_set_that_vanished_is_not_called_corrupt(prepared, tmp_path):
    shutil.copytree(prepared[0] / "clive", tmp_path / "clive")
    loaded = load_set("clive", tmp_path)
    shutil.rmtree(tmp_path / "clive")
    indices = np.arange(len(loaded))
    reads = [
        lambda: list(evaluation_images(loaded, indices, batch_size=2, preset=PRESETS["paper"], image_size=8)),
        lambda: list(training_batches([loaded], [2], session="all", seed=0, steps=5, image_size=8)),
    ]
    for read in reads:
        with ThreadPoolExecutor(1) as pool, pytest.raises(DataError) as caught:
            pool.submit(read).result()  # a thread that has not opened the files
        assert "cannot be read" in str(caught.value)
        assert "corrupt" not in str(caught.value)
        assert "Prepare" not in str(caught.value)


@pytest.mark.parametrize("what", ["vanishes", "changes"])
def test_an_image_that_is_that_changed_is_named(what, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    fakes.picture(photos / "a.png", 0, (64, 64))
    (photos / "labels.csv").write_text("image,mos\na.png,3\n")
    whole = images.prepare_images

    def then_lose(*arguments, **options):
        found = whole(*arguments, **options)
        (photos / "a.png").unlink() if what == "vanishes" else (photos / "a.png").write_bytes(b"another")
        return found

    monkeypatch.setattr("liqe_jax.data.prepare.gather.prepare_images", then_lose)
    with pytest.raises(DataError, match=r"a\.png (cannot be read any more|changed while)") as caught:
        prepare("folder_csv", photos, tmp_path / "data", own_name="mine", quiet=True)
    assert "Make room" not in str(caught.value)


def test_verify_finds_corrupt_images(prepared, tmp_path):
    shutil.copytree(prepared[0] / "clive", tmp_path / "clive")
    sidecar = tmp_path / "clive" / "1.0.0" / "labels.json"
    content = json.loads(sidecar.read_text())
    content["sha256"][2] = "0" * 64
    content["sizes"][3] = [1, 1]
    sidecar.write_text(json.dumps(content))
    faults = verify("clive", tmp_path, quiet=True).faults
    assert list(faults) == content["names"][2:4]
    assert "differ from those that were stored" in faults[content["names"][2]]
    assert "decodes to 24x16, stored as 1x1" in faults[content["names"][3]]
    content["names"].pop()
    sidecar.write_text(json.dumps(content))
    with pytest.raises(DataError, match="has 5 records but labels for 4"):
        load_set("clive", tmp_path)
    sidecar.write_text("{")
    with pytest.raises(DataError, match="Cannot read"):
        load_set("clive", tmp_path)


# The command.


def test_command_from_preparation_to_preview(originals, tmp_path, capsys):
    data = ["--data-dir", str(tmp_path / "data")]
    manual = ["--manual-dir", str(originals / "kadid10k"), "--labels", str(originals / "LIQE")]
    assert main(["data", "prepare", "kadid10k", *manual, *data, "--workers", "2", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "KADID-10k: 250 images stored; the label files have 250 rows (official number: 10125)" in out
    assert "Note: The label files have 250 rows; the official number is 10125." in out
    assert main(["data", "verify", "kadid10k", *data, "--quiet"]) == 0
    assert "250 of 250 images" in capsys.readouterr().out
    sheet = tmp_path / "sheet.png"
    assert main(["data", "preview", "kadid10k", *data, "--output", str(sheet), "--count", "7"]) == 0
    image = Image.open(sheet)
    assert image.width > image.height > 400
    assert len(image.getcolors(1 << 24)) > 500
    assert main(["data", "preview", "kadid10k", *data, "--output", str(tmp_path / "no" / "sheet.png")]) == 2
    assert main(["data", "prepare", "kadid10k", *manual, *data, "--quiet"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_command_lists_and_describes(capsys):
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert all(slug in out for slug in specs())
    assert main(["data", "list", "KADID-10k"]) == 0
    out = capsys.readouterr().out
    assert all(fact in out for fact in (specs()["kadid10k"].tree, specs()["kadid10k"].url, "10,125", "--labels LIQE"))
    assert main(["data", "list", "nothing"]) == 2


def test_listing_needs_no_tensorflow():
    code = (
        "import sys; from liqe_jax.cli.main import main; main(['data', 'list'])\n"
        "heavy = {'tensorflow', 'tensorflow_datasets', 'jax', 'scipy', 'openpyxl', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("spec", specs().values(), ids=specs())
def test_the_page_of_a_set_states_the_facts_of_its_builder(spec):
    page = (ROOT / "docs" / "datasets" / f"{spec.slug}.md").read_text("utf-8")
    low, high = spec.mos_range
    facts = [f"- Images: {spec.count:,}.", f"Range {low:g} to {high:g}."] if spec.count else []
    facts += [f"- Licence: {spec.licence}", f"```\n{spec.tree}\n```", spec.title, spec.url]
    facts.append(spec.summary().splitlines()[-1])
    facts += [f"IQA_Database/{spec.liqe}/splits2"] if spec.liqe else []
    assert [fact for fact in facts if fact not in page] == []
    row = f"| [{spec.name}]({spec.slug}.md) | {spec.count:,} | {low:g} to {high:g} |" if spec.count else spec.slug
    assert row in (ROOT / "docs" / "datasets" / "index.md").read_text("utf-8")
