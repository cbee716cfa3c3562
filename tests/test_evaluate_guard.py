"""What may be called a test."""

from __future__ import annotations

import numpy as np
import pytest

from liqe_jax.data.sets import SPECS
from liqe_jax.errors import DataError
from liqe_jax.evaluate.guard import SEEN, TEST, UNKNOWN, judge, require_test, slug, split_key
from liqe_jax.evaluate.protocol import stated
from liqe_jax.weights.known import KNOWN_MODELS
from liqe_jax.weights.provenance import Provenance, TrainingSet

PARTS = {
    "1": ["train", "train", "val", "test", "test", ""],
    "2": ["test", "test", "train", "train", "val", ""],
    "official": ["train", "test", "train", "val", "train", "test"],
}
ALL = np.arange(6)


def verdict(entries, indices=ALL, dataset="CSIQ"):
    trained_on = None if entries is None else tuple(TrainingSet(*entry) for entry in entries)
    return judge(trained_on, dataset, PARTS, np.asarray(indices))


@pytest.mark.parametrize(
    ("entries", "indices", "standing", "seen", "reason"),
    [
        (None, ALL, UNKNOWN, 0, "does not say"),
        ((), ALL, TEST, 0, "not trained on this set"),
        ([("LIVE", "all")], ALL, TEST, 0, "not trained on this set"),
        ([("CSIQ", "session 1")], [3, 4], TEST, 0, "held out from session 1"),
        ([("CSIQ", "session 1 of LIQE's splits")], [3, 4, 5], TEST, 0, "held out"),
        ([("csiq", "session 1")], [0, 1], SEEN, 2, "2 are training and 0 validation"),
        ([("CSIQ", "session 1")], ALL, SEEN, 3, "of 6 images, 2 are training and 1 validation"),
        ([("CSIQ", "session 2")], [3, 4], SEEN, 2, "1 are training and 1 validation"),
        ([("CSIQ", "session 10")], [3], UNKNOWN, 0, "does not have that split"),
        ([("CSIQ", "official")], [1, 5], TEST, 0, "official"),
        ([("CSIQ", "session 1"), ("CSIQ", "official")], [3, 4], SEEN, 2, "official"),
        ([("CSIQ", "all")], [5], SEEN, 1, "all of CSIQ"),
        ([("CSIQ", "unknown split")], [5], UNKNOWN, 0, "not known ('unknown split')"),
        ([("CSIQ",)], [5], UNKNOWN, 0, "not known ('unknown')"),
        # What is known to be seen outweighs what is not known.
        ([("CSIQ", "unknown"), ("CSIQ", "session 1")], [0], SEEN, 1, "training"),
    ],
)
def test_verdicts(entries, indices, standing, seen, reason):
    found = verdict(entries, indices)
    assert found[::2] == (standing, seen)
    assert reason in found.reason


def test_shared_originals_are_told():
    assert "Kodak" in verdict([("LIVE", "session 1")], dataset="TID2013").reason
    assert "Kodak" not in verdict([("CSIQ", "session 1")], dataset="TID2013").reason
    assert "Kodak" not in verdict([("TID2013", "all")], dataset="KonIQ-10k").reason


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
        found = verdict([("LIVE", "all"), (name, "all")])
        assert found.standing == UNKNOWN
        assert repr(name) in found.reason
    # What is known to be seen, or to be not known, is told instead.
    assert verdict([("mine", "all"), ("CSIQ", "all")]).standing == SEEN
    assert "but on which part" in verdict([("mine", "all"), ("CSIQ", "?")]).reason
    # Sets that are evaluated in the same run are others, whatever they are called.
    trained_on = (TrainingSet("mine", "all"),)
    assert judge(trained_on, "CSIQ", PARTS, ALL, ["CSIQ", "mine"]).standing == TEST
    assert judge(trained_on, "mine", {}, ALL).standing == SEEN


def test_sets_that_are_made_or_prepared_here_are_known():
    names = [*(spec.name for spec in SPECS.values()), *SPECS]
    names += ["crops", "crops-table-2", "generated", "generated-2", "LIVE-itW"]
    assert verdict([(name, "all") for name in names], dataset="mine").standing == TEST


def test_splits_in_words():
    words = ("session 3", "session 10 of LIQE's splits", "official", "all", "unknown", "", "sessions", "3")
    assert [split_key(text) for text in words] == ["3", "10", "official", "all", None, None, None, None]


def test_only_tests_pass():
    require_test(verdict(()), "CSIQ")
    for entries in (None, [("CSIQ", "all")]):
        with pytest.raises(DataError, match=r"CSIQ, whole set is no test: .*on_seen"):
            require_test(verdict(entries), "CSIQ, whole set")


def test_released_models_are_judged_by_what_is_known_of_them():
    mix, koniq = (KNOWN_MODELS[name].trained_on for name in ("liqe_mix", "liqe_koniq"))
    assert judge(mix, "CSIQ", PARTS, np.array([3, 4])).standing == TEST
    assert judge(mix, "CSIQ", PARTS, np.array([0, 1])).standing == SEEN  # session 2's test part
    assert judge(mix, "SPAQ", {}, ALL).standing == TEST
    assert judge(koniq, "KonIQ-10k", PARTS, np.array([1, 5])).standing == UNKNOWN


def test_the_user_can_state_the_training_data():
    provenance = Provenance("m", trained_on=(TrainingSet("LIVE", "all"),))
    assert stated((), "model", provenance) == provenance.trained_on
    pairs = (("CSIQ", "session {session}"),)
    assert stated(pairs, "session-7", provenance) == (TrainingSet("CSIQ", "session 7"),)
