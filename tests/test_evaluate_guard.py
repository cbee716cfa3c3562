"""What may be called a test."""

from __future__ import annotations

import numpy as np
import pytest

from liqe_jax.data.sets import specs
from liqe_jax.errors import DataError
from liqe_jax.evaluate.guard import SEEN, TEST, UNKNOWN, check_seen, require_test, session_key, slug
from liqe_jax.evaluate.protocol import stated
from liqe_jax.weights.known import KNOWN_MODELS
from liqe_jax.weights.provenance import Provenance, TrainingSet

SPLITS = {
    "1": ["train", "train", "val", "test", "test", ""],
    "2": ["test", "test", "train", "train", "val", ""],
    "official": ["train", "test", "train", "val", "train", "test"],
}
ALL = np.arange(6)


def checked(entries, indices=ALL, dataset="CSIQ"):
    trained_on = None if entries is None else tuple(TrainingSet(*entry) for entry in entries)
    return check_seen(trained_on, dataset, SPLITS, np.asarray(indices))


@pytest.mark.parametrize(
    ("entries", "indices", "status", "images", "reason"),
    [
        (None, ALL, UNKNOWN, 0, "does not say"),
        ((), ALL, TEST, 0, "not trained on this set"),
        ([("LIVE", "all")], ALL, TEST, 0, "not trained on this set"),
        ([("CSIQ", "session 1")], [3, 4], TEST, 0, "held out from session 1"),
        ([("CSIQ", "session 1 of LIQE's splits")], [3, 4, 5], TEST, 0, "held out"),
        ([("csiq", "session 1")], [0, 1], SEEN, 2, "2 are training and 0 validation"),
        ([("CSIQ", "session 1")], ALL, SEEN, 3, "of 6 images, 2 are training and 1 validation"),
        ([("CSIQ", "session 2")], [3, 4], SEEN, 2, "1 are training and 1 validation"),
        ([("CSIQ", "session 10")], [3], UNKNOWN, 0, "prepared set does not have"),
        ([("CSIQ", "official")], [1, 5], TEST, 0, "official"),
        ([("CSIQ", "session 1"), ("CSIQ", "official")], [3, 4], SEEN, 2, "official"),
        ([("CSIQ", "all")], [5], SEEN, 1, "all of CSIQ"),
        ([("CSIQ", "unknown split")], [5], UNKNOWN, 0, "not known ('unknown split')"),
        ([("CSIQ",)], [5], UNKNOWN, 0, "not known ('unknown')"),
        # What is known to be seen outweighs what is not known.
        ([("CSIQ", "unknown"), ("CSIQ", "session 1")], [0], SEEN, 1, "training"),
    ],
)
def test_overlap_with_the_training_data(entries, indices, status, images, reason):
    found = checked(entries, indices)
    assert found[::2] == (status, images)
    assert reason in found.reason


def test_shared_originals_are_reported():
    assert "Kodak" in checked([("LIVE", "session 1")], dataset="TID2013").reason
    assert "Kodak" not in checked([("CSIQ", "session 1")], dataset="TID2013").reason
    assert "Kodak" not in checked([("TID2013", "all")], dataset="KonIQ-10k").reason


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("KADID-10k", "kadid10k", "KADID", "KADID-10"), "kadid10k"),
        (("KonIQ-10k", "koniq", "Koniq 10"), "koniq10k"),
        (("LIVE",), "live"),
        (("CLIVE", "LIVE in the Wild", "LIVE-itW", "LIVE Wild", "LIVE-C", "LIVE Challenge"), "clive"),
    ],
)
def test_slugs(names, expected):
    assert {slug(name) for name in names} == {expected}


def test_a_set_of_an_unknown_name_could_be_this_one():
    for name in ("CSIQ v2", "everything", "my photographs", "cropsiq"):
        found = checked([("LIVE", "all"), (name, "all")])
        assert found.status == UNKNOWN
        assert repr(name) in found.reason
    # Known overlap, or an unknown session of this set, is reported first.
    assert checked([("mine", "all"), ("CSIQ", "all")]).status == SEEN
    assert "but the session is not known" in checked([("mine", "all"), ("CSIQ", "?")]).reason
    # Sets that are evaluated in the same run are others, whatever they are called.
    trained_on = (TrainingSet("mine", "all"),)
    assert check_seen(trained_on, "CSIQ", SPLITS, ALL, ["CSIQ", "mine"]).status == TEST
    assert check_seen(trained_on, "mine", {}, ALL).status == SEEN


def test_sets_that_are_made_or_prepared_here_are_known():
    names = [*(spec.name for spec in specs().values()), *specs()]
    names += ["generated", "generated-2", "LIVE-itW"]
    assert checked([(name, "all") for name in names], dataset="mine").status == TEST


def test_splits_in_words():
    words = ("session 3", "session 10 of LIQE's splits", "official", "all", "unknown", "", "sessions", "3")
    assert [session_key(text) for text in words] == ["3", "10", "official", "all", None, None, None, None]


def test_only_tests_pass():
    require_test(checked(()), "CSIQ")
    for entries in (None, [("CSIQ", "all")]):
        with pytest.raises(DataError, match=r"CSIQ, whole set is not a test: .*on_seen"):
            require_test(checked(entries), "CSIQ, whole set")


def test_released_models_have_the_status_that_is_known():
    mix, koniq = (KNOWN_MODELS[name].trained_on for name in ("liqe_mix", "liqe_koniq"))
    assert check_seen(mix, "CSIQ", SPLITS, np.array([3, 4])).status == TEST
    assert check_seen(mix, "CSIQ", SPLITS, np.array([0, 1])).status == SEEN  # session 2's test split
    assert check_seen(mix, "SPAQ", {}, ALL).status == TEST
    assert check_seen(koniq, "KonIQ-10k", SPLITS, np.array([1, 5])).status == UNKNOWN


def test_the_user_can_state_the_training_data():
    provenance = Provenance("m", trained_on=(TrainingSet("LIVE", "all"),))
    assert stated((), "model", provenance) == provenance.trained_on
    pairs = (("CSIQ", "session {session}"),)
    assert stated(pairs, "session-7", provenance) == (TrainingSet("CSIQ", "session 7"),)
