"""Crops of damaged photographs: other makes of a distortion, labels, and the data set that they become."""

from __future__ import annotations

import concurrent.futures
import json
import re

import numpy as np
import pytest
from PIL import Image

from liqe_jax.data.crops import SPLIT, crops_set, views_of_crops
from liqe_jax.errors import DataError, UsageError
from liqe_jax.synthetic import KINDS, distort
from liqe_jax.synthetic.crops import PAIRS, PLANS, TABLE, WHOLES, main, make_crops, read_list
from liqe_jax.synthetic.implementations import IMPLEMENTATIONS, distort_otherwise
from liqe_jax.synthetic.matching import distance, match_strength
from liqe_jax.synthetic.mos import mean_mos
from liqe_jax.synthetic.views import (
    ENLARGED,
    PAIR,
    PER_SCENE,
    PRISTINE,
    PRISTINE_CELLS,
    SIDE,
    SMALLEST,
    WHOLE,
    WHOLE_CELLS,
    WHOLE_SHIFT,
    cells_of,
    make_view,
    pair_views,
    resized_views,
    table_views,
    views_of,
    whole_views,
)
from liqe_jax.synthetic.wavelet import joined, split

from .conftest import photograph


@pytest.fixture(scope="module")
def view() -> np.ndarray:
    return photograph(96, 128).astype(np.float32) / 255


@pytest.mark.parametrize("kind", sorted({*IMPLEMENTATIONS, 25}))
def test_a_variant_moves_the_image_as_far_as_ours_does(kind, view):
    for level in (2, 4):
        for seed in range(4):
            other = distort_otherwise(view, kind, level, seed)
            assert other.dtype == np.float32
            assert 0 <= other.min() <= other.max() <= 1
            reference = distance(distort(view, kind, level, seed), view)
            assert distance(other, view) == pytest.approx(reference, rel=0.1, abs=1e-4), (level, seed)
        np.testing.assert_array_equal(distort_otherwise(view, kind, level, 1), distort_otherwise(view, kind, level, 1))


def test_a_kind_without_another_make_is_ours(view):
    kind = min(set(KINDS) - set(IMPLEMENTATIONS) - {25})
    np.testing.assert_array_equal(distort_otherwise(view, kind, 3, 5), distort(view, kind, 3, 5))


@pytest.mark.parametrize(("power", "most"), [(0.5, 3.0), (1.0, 1.0), (2.0, 9.0)])
def test_the_strength_that_moves_as_far(power, most, view):
    """Of a make whose distance is known."""

    def make(image, strength, rng):
        return np.clip(image, 0.3, 0.7) + np.float32(most * strength**power)

    def wanted_at(strength):
        return distance(np.clip(make(view, strength, None), 0, 1), view)

    for strength in (0.01, 0.05, 0.3):
        wanted = wanted_at(strength)
        assert distance(match_strength(make, view, wanted, 0).image, view) == pytest.approx(wanted, rel=0.03)
    # Beyond its reach: the strongest.
    far = match_strength(make, view, 9.0, 0)
    np.testing.assert_array_equal(far.image, np.clip(make(view, 1.0, None), 0, 1))
    assert far.off == pytest.approx(np.log(9 / distance(far.image, view)), rel=1e-3)
    assert not far.reached


def test_what_changes_nothing_is_the_image_as_it_is(view):
    """Even where the weakest of a make shows."""

    def make(image, strength, rng):
        return image + np.float32(0.02 + strength)

    for wanted, near in ((0.0, True), (1e-6, True), (1e-3, False)):
        match = match_strength(make, view, wanted, 0)
        np.testing.assert_array_equal(match.image, view)
        assert match.reached == near
    assert match_strength(make, view, 0.02, 0).off < 0.1
    assert match_strength(make, view, 0.0, 0).off == 0


def test_motion_of_no_length_moves_nothing(view):
    assert all((distort_otherwise(view, 3, 1, seed) == view).all() for seed in range(8))


def test_an_implementation_out_of_reach_is_replaced(view, monkeypatch):
    monkeypatch.setattr(
        "liqe_jax.synthetic.implementations.IMPLEMENTATIONS", {11: (lambda image, strength, rng: image + 0.2,)}
    )
    np.testing.assert_array_equal(distort_otherwise(view, 11, 3, 5), distort(view, 11, 3, 5))


def test_the_wavelet_comes_back(view):
    parts = split(view)
    assert {part.shape for part in parts} == {(48, 64, 3)}
    np.testing.assert_allclose(joined(*parts), view, atol=1e-6)
    flat = split(np.full((8, 8, 3), 0.5, np.float32))
    np.testing.assert_array_equal(flat[0], 0.5)
    assert all((part == 0).all() for part in flat[1:])


def test_views_have_the_labels_of_their_damage():
    photo = Image.fromarray(photograph(400, 500))
    pristine = make_view(photo, (), (1, 2))
    assert pristine.pixels.shape == (PER_SCENE, SIDE, SIDE, 3)
    assert (pristine.opinion, pristine.raw_distortion, pristine.kind) == (PRISTINE, "", "pristine")
    for kind in (1, 10, 25):
        crops = make_view(photo, (kind,), (1, kind))
        assert crops.raw_distortion == KINDS[kind].raw_label
        scores = [mean_mos(kind, level)[0] for level in range(1, 6)]
        assert min(scores) - 1e-9 <= crops.opinion <= max(scores) + 1e-9
        np.testing.assert_array_equal(make_view(photo, (kind,), (1, kind)).pixels, crops.pixels)
    both = make_view(photo, (0, 0), (7,))
    assert both.raw_distortion == ""
    first, second = (int(number) for number in both.kind.split("+"))
    assert 1 <= first <= 25
    assert 1 <= second <= 25
    assert 1 <= both.opinion < PRISTINE


def test_every_kind_as_often():
    views = views_of(3)
    assert all(views.count((kind,)) == 3 for kind in KINDS)


def test_the_table_comes_whole():
    photo = Image.fromarray(photograph(300, 400))
    views = table_views(photo, 1, (3, 4))
    opinions = sorted(view.opinion for view in views)
    cells = [mean_mos(kind, level)[0] for kind in KINDS for level in range(1, 6)]
    assert opinions == sorted(cells + [PRISTINE] * PRISTINE_CELLS)
    assert len(views) == len(cells_of(1)) == 125 + PRISTINE_CELLS
    for kind in KINDS:
        found = [view for view in views if view.kind == str(kind)]
        assert {view.raw_distortion for view in found} == {KINDS[kind].raw_label}
        assert sorted(view.opinion for view in found) == sorted(mean_mos(kind, level)[0] for level in range(1, 6))
    assert {view.pixels.shape for view in views} == {(1, SIDE, SIDE, 3)}
    for one, two in zip(views, table_views(photo, 1, (3, 4)), strict=True):
        np.testing.assert_array_equal(one.pixels, two.pixels)
    assert any((one.pixels != two.pixels).any() for one, two in zip(views, table_views(photo, 1, (3, 5)), strict=True))


def test_a_table_of_crops(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("liqe_jax.synthetic.views._cells", lambda pristine: [(0, 0), (10, 5)])
    monkeypatch.setattr(
        "concurrent.futures.ProcessPoolExecutor",
        lambda workers, context: concurrent.futures.ThreadPoolExecutor(workers),
    )
    assert make_crops(photos, tmp_path / "crops-table", rounds=2, workers=2, plan=TABLE) == 2 * 4
    table = crops_set(tmp_path / "crops-table", "crops-table")
    assert len(table.indices(SPLIT, "train")) == len(table.indices(SPLIT, "val")) == 4
    assert set(np.round(table.mos, 4)) == {PRISTINE, round(mean_mos(10, 5)[0], 4)}
    assert make_crops(photos, tmp_path / "crops-pairs", rounds=1, workers=2, plan=PAIRS) == 2 * 2 * PAIR
    assert make_crops(photos, tmp_path / "few", rounds=1, workers=2, plan=TABLE, limit=1) == 2
    assert set(crops_set(tmp_path / "few").reference) == {"p0.png"}
    assert make_crops(photos, tmp_path / "all", rounds=1, workers=2, plan=TABLE, limit=9) == 4
    with pytest.raises(UsageError, match="1 photograph or more; got 0"):
        make_crops(photos, tmp_path / "none", rounds=1, limit=0)
    together = views_of_crops(tmp_path / "crops-pairs")
    assert together.shape == (4, PAIR)
    pairs = crops_set(tmp_path / "crops-pairs", "crops-pairs")
    assert (pairs.mos[together[:, 0]] == pairs.mos[together[:, 1]]).all()
    assert [pairs.reference[row[0]] for row in together] == [pairs.reference[row[1]] for row in together]


def test_pairs_are_the_table_in_two_crops_side_by_side(monkeypatch):
    cells = [(0, 0), *((kind, level) for kind in (7, 10, 20, 25) for level in (1, 5))]
    monkeypatch.setattr("liqe_jax.synthetic.views._cells", lambda pristine: cells)
    for height, width in ((300, 500), (500, 300), (300, 320)):  # the last has no room for two
        photo = Image.fromarray(photograph(height, width))
        views = pair_views(photo, 2, (3, height, width))
        assert {view.pixels.shape for view in views} == {(PAIR, SIDE, SIDE, 3)}
        expected = [mean_mos(kind, level)[0] if kind else PRISTINE for kind, level in cells * 2]
        assert sorted(view.opinion for view in views) == sorted(expected)
        for one, two in zip(views, pair_views(photo, 2, (3, height, width)), strict=True):
            np.testing.assert_array_equal(one.pixels, two.pixels)
    assert {view.raw_distortion for view in views} == {"", *(KINDS[kind].raw_label for kind in (7, 10, 20, 25))}


def test_damage_grows_with_the_picture_and_undamaged_ones_stay(monkeypatch):
    """Noise of a pixel becomes noise of several: neighbours differ less."""
    monkeypatch.setattr("liqe_jax.synthetic.views._cells", lambda pristine: [(0, 0), (11, 3), (11, 5)] * 20)
    monkeypatch.setattr("liqe_jax.synthetic.views.PAIR_VARIANT_SHARE", 0.0)
    monkeypatch.setattr("liqe_jax.synthetic.views._finished", lambda pixels, rng, extras: pixels)
    photo = Image.fromarray(np.full((300, 500, 3), 128, np.uint8))

    def roughness(views):
        """Neighbours' mean difference over the deviation, of each opinion."""
        found = {}
        for view in views(photo, 1, (2,)):
            assert view.pixels.shape == (PAIR, SIDE, SIDE, 3)
            pixels = view.pixels.astype(float)
            ratio = np.abs(np.diff(pixels, axis=2)).mean() / pixels.std() if view.raw_distortion else pixels.std()
            found.setdefault(view.opinion, []).append(ratio)
        return {opinion: np.array(ratios) for opinion, ratios in found.items()}

    plain, resized = roughness(pair_views), roughness(resized_views)
    assert set(plain) == set(resized) == {PRISTINE, mean_mos(11, 3)[0], mean_mos(11, 5)[0]}
    assert not plain[PRISTINE].any()
    assert not resized[PRISTINE].any()
    for level, least in ((3, 0.35), (5, 0.15)):
        before, after = plain[mean_mos(11, level)[0]], resized[mean_mos(11, level)[0]]
        assert after.max() < 1.1 * before.min()
        assert least * before.mean() < after.min() < 0.7 * before.mean()


def test_crops_of_a_pair_do_not_overlap(monkeypatch):
    monkeypatch.setattr("liqe_jax.synthetic.views._cells", lambda pristine: [(0, 0)] * 20)
    monkeypatch.setattr("liqe_jax.synthetic.views._finished", lambda pixels, rng, extras: pixels)
    ramp = np.zeros((300, 500, 3), np.uint8)
    ramp[..., 0] = np.arange(500) // 2
    for turned in (False, True):
        photo = Image.fromarray(ramp.swapaxes(0, 1) if turned else ramp)
        monkeypatch.setattr("liqe_jax.synthetic.views._scaled", lambda photo, scales, rng, looks: photo)
        starts = set()
        for view in pair_views(photo, 1, (5,)):
            first, second = (crop[..., 0].astype(int) for crop in view.pixels)
            assert second.min() >= first.max()
            starts.add(first.min())
        assert len(starts) > 5


def test_whole_photographs_are_covered_from_edge_to_edge(monkeypatch):
    monkeypatch.setattr("liqe_jax.synthetic.views._finished", lambda pixels, rng, extras: pixels)
    monkeypatch.setattr("liqe_jax.synthetic.views._cells", lambda pristine: [(0, 0)] * 60)
    monkeypatch.setattr("liqe_jax.synthetic.views._scaled", lambda photo, scales, rng, looks: photo)
    ramp = np.zeros((400, 500, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(500) // 2, np.arange(400)[:, None] // 2
    for turned in (False, True):
        photo = Image.fromarray(ramp.swapaxes(0, 1) if turned else ramp)
        views = whole_views(photo, 1, (5,))
        assert len(views) == WHOLE_CELLS
        starts = set()
        for view in views:
            assert view.pixels.shape == (WHOLE, SIDE, SIDE, 3)
            # Three along the longer side and two along the other: places 0, 138 and 276, 0 and 176.
            along, across = (2 * view.pixels[..., channel].min((1, 2)).astype(int) for channel in (0, 1))
            nearest = {(round(a / 138), round(b / 176)) for a, b in zip(along, across, strict=True)}
            assert nearest == {(a, b) for a in range(3) for b in range(2)}
            assert (np.abs(along - 138 * np.round(along / 138)) <= WHOLE_SHIFT + 2).all()
            assert (np.abs(across - 176 * np.round(across / 176)) <= WHOLE_SHIFT + 2).all()
            starts.update(along)
        assert len(starts) > 20


def test_whole_photographs_go_through_some_of_the_table(monkeypatch):
    cells = [(0, 0), *((kind, level) for kind in (7, 10, 25) for level in (1, 5))]
    monkeypatch.setattr("liqe_jax.synthetic.views._cells", lambda pristine: cells)
    monkeypatch.setattr("liqe_jax.synthetic.views.WHOLE_CELLS", 4)
    photo = Image.fromarray(photograph(300, 360))
    drawn = [whole_views(photo, 1, (seed,)) for seed in range(6)]
    assert all(len(views) == len({(view.kind, view.opinion) for view in views}) == 4 for views in drawn)
    assert {view.kind for views in drawn for view in views} == {"pristine", "7", "10", "25"}
    for one, two in zip(drawn[0], whole_views(photo, 1, (0,)), strict=True):
        np.testing.assert_array_equal(one.pixels, two.pixels)
    assert len(whole_views(photo, 3, (0,))) == PLANS[WHOLES].count(3) == 12


def test_small_photographs_are_enlarged_for_pairs_only(monkeypatch):
    monkeypatch.setattr("liqe_jax.synthetic.views._cells", lambda pristine: [(0, 0)] * 200)
    short = {views: [] for views in (table_views, pair_views)}
    photo = Image.fromarray(photograph(300, 480))
    for views, seen in short.items():

        def window(scaled, size, rng, seen=seen):
            seen.append(scaled.height)
            return np.zeros((SIDE, 2 * SIDE, 3))

        monkeypatch.setattr("liqe_jax.synthetic.views._window", window)
        views(photo, 1, (8,))
    assert max(short[table_views]) <= 300 < max(short[pair_views]) <= 300 * ENLARGED
    assert min(short[table_views]) >= SMALLEST
    assert min(short[pair_views]) * 480 / 300 >= PAIR * SIDE - 1  # room for both


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for number, part in enumerate(("train", "val", "test")):
        Image.fromarray(photograph(300, 320, number)).save(folder / f"p{number}.png")
        rows.append({"file": f"p{number}.png", "split": part, "scenes": ["animal", "plant"][: number + 1]})
    Image.fromarray(photograph(100, 900)).save(folder / "narrow.png")
    rows.append({"file": "narrow.png", "split": "train", "scenes": []})
    (folder / "photographs.json").write_text(json.dumps({"photographs": rows}))
    return folder


def test_crops_become_a_data_set(photos, tmp_path, monkeypatch):
    for module in ("crops", "views"):
        monkeypatch.setattr(f"liqe_jax.synthetic.{module}.views_of", lambda rounds: [(), (11,)])
    # Processes would not see the shorter list, so it runs in threads.
    monkeypatch.setattr(
        "concurrent.futures.ProcessPoolExecutor",
        lambda workers, context: concurrent.futures.ThreadPoolExecutor(workers),
    )
    counts = {make_crops(photos, tmp_path / name, rounds=1, workers=n) for name, n in (("one", 1), ("two", 2))}
    assert counts == {2 * 2 * PER_SCENE}
    one, two = (crops_set(tmp_path / name) for name in ("one", "two"))
    assert one.read(range(len(one))) == two.read(range(len(two)))
    assert len(set(one.names)) == len(one)
    assert set(one.reference) == {"p0.png", "p1.png"}  # not the test photograph, not the narrow one
    assert len(one.indices(SPLIT, "train")) == len(one.indices(SPLIT, "val")) == 2 * PER_SCENE
    for index, kind in enumerate(["pristine", "pristine", "11", "11"] * 2):
        assert one.names[index].endswith(f"_{kind}")
        assert (one.distortion[index] == -1) == (kind == "pristine")
    assert one.scenes.sum(1).tolist() == [1] * 4 + [2] * 4
    with pytest.raises(DataError, match="holds crops already"):
        make_crops(photos, tmp_path / "one", rounds=1)


def test_folders_that_hold_nothing(tmp_path):
    with pytest.raises(DataError, match="holds no photograph"):
        read_list(tmp_path)
    with pytest.raises(DataError, match="holds no crops"):
        crops_set(tmp_path)
    (tmp_path / "photographs.json").write_text("{}")
    with pytest.raises(DataError, match="damaged"):
        read_list(tmp_path)


def test_a_folder_that_is_not_there_is_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["crops", str(tmp_path / "photos"), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert re.fullmatch(
        r"crops: No folder \S+/photos\. Give the one that holds the photographs\.\n", capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())


def test_a_damaged_photograph_is_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.jpg cannot be read .*fetch it again"):
        read_list(tmp_path)
