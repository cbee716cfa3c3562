"""What a run refuses or says before its first step."""

from __future__ import annotations

import dataclasses

import pytest

from liqe_jax import UsageError
from liqe_jax.data.generated import generated_set
from liqe_jax.train.sources import check_split

SET = generated_set()


def without(dataset, **fields):
    return dataclasses.replace(dataset, **fields)


def test_every_set_that_is_used_whole_is_named():
    bare, other = without(SET, name="bare", parts={}), without(SET, name="other", parts={"own": SET.parts["1"]})
    notes = check_split([SET, bare, other], "1")
    assert notes == [
        "bare has no split '1', nor any other: all its images are trained on.",
        "other has no split '1', only own: all its images are trained on.",
    ]
    assert check_split([bare], "1") == notes[:1]
    assert check_split([SET, bare], "all") == []
    with pytest.raises(UsageError, match="No data set has the split"):
        check_split([bare, other], "1")
