"""Losses by name and by import path."""

from __future__ import annotations

import pytest

from liqe_jax import Attribute, TaskSet, UsageError
from liqe_jax.taxonomy import JOINT, QUALITY, QUALITY_DISTORTION
from liqe_jax.train.losses import ABOUT, LOSSES, losses_of, named_losses


def spread(prediction, labels, groups):
    """A loss of one's own."""
    return prediction.values["quality"].var()


def of_two(prediction, labels):
    return 0.0


OWN = f"{__name__}:spread"


def test_without_names_every_attribute_has_liqe_s_loss():
    assert (
        named_losses((), JOINT)
        == losses_of(JOINT)
        == {name: LOSSES[name] for name in ("quality", "scene", "distortion")}
    )
    own = TaskSet("own", (QUALITY, Attribute("grain", ("clean", "grainy"))), "{grain} {quality}")
    with pytest.raises(UsageError, match=r"LIQE has no loss for grain\. Name losses of your own in config\.losses"):
        losses_of(own)


def test_losses_of_ones_own_stand_beside_liqe_s(tmp_path, monkeypatch):
    assert named_losses(("quality", OWN), QUALITY_DISTORTION) == {"quality": LOSSES["quality"], "spread": spread}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def mine(prediction, labels, groups=1):\n    return 0.0\n")
    assert list(named_losses(("mine.py:mine", "mos"), QUALITY_DISTORTION)) == ["mine", "mos"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("sharpness",),
            r"config\.losses must be one of quality, distortion, mos, or the .*; got 'sharpness'",
        ),
        (("scene",), r"config\.losses must be one of quality, distortion, mos, .*; got 'scene'"),
        ((f"{__name__}:absent",), r"config\.losses names '.*:absent', and .* has no 'absent'"),
        ((f"{__name__}:of_two",), r"of_two must be a function of \(prediction, labels, number of data sets\)"),
        ((f"{__name__}:OWN",), r"OWN must be a function of \(prediction, labels, number of data sets\)"),
        ((OWN, OWN), "Losses need different names"),
        (("quality", "quality"), "Losses need different names"),
    ],
)
def test_other_names_are_refused(names, message):
    with pytest.raises(UsageError, match=message):
        named_losses(names, QUALITY_DISTORTION)


def test_every_loss_is_about_an_attribute():
    assert ABOUT.keys() == LOSSES.keys()
    assert set(ABOUT.values()) == {"quality", "scene", "distortion"}
