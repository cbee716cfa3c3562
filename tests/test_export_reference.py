"""The NumPy of docs/export.md chooses the crops that the presets choose."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from liqe_jax.images.decode import decode
from liqe_jax.images.preprocess import PRESETS, prepare

from .conftest import SAMPLES, photograph

PAGE = Path(__file__).parent.parent / "docs" / "export.md"


@pytest.fixture(scope="module")
def crops_of():
    pattern = re.compile(r"^```python\n(import numpy as np\n.*?)^```$", re.MULTILINE | re.DOTALL)
    (code,) = pattern.findall(PAGE.read_text("utf-8"))
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
    names: dict = {}
    exec(code, names)
    return names["crops_of"]


# Small, narrow, large enough to be shrunk, of the coarse grid, and with a side that equals a crop's.
SIZES = [(150, 200), (224, 300), (300, 224), (768, 1024), (40, 900), (820, 900), (1030, 770), (500, 375)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", ["paper", "even", "whole"])
def test_it_chooses_the_crops_of_the_preset(crops_of, name, size):
    pixels = photograph(*size)
    expected = prepare(decode(pixels), PRESETS[name]).crops()
    np.testing.assert_array_equal(crops_of(pixels, name), expected)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_it_spreads_other_numbers_of_crops(crops_of, count):
    pixels = photograph(400, 500)
    expected = prepare(decode(pixels), dataclasses.replace(PRESETS["even"], count=count)).crops()
    np.testing.assert_array_equal(crops_of(pixels, "even", count=count), expected)


@pytest.mark.parametrize("sample", ["coffee.jpg", "dandelions_small.jpg"])
def test_photographs_become_the_crops_of_the_embedded_model(crops_of, sample):
    decoded = decode(SAMPLES / sample)
    np.testing.assert_array_equal(
        crops_of(decoded.pixels, "whole", size=512), prepare(decoded, PRESETS["whole"], 512).crops()
    )
