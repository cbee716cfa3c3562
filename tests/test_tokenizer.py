"""CLIP's tokenizer, put together here, against the one that transformers puts together."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from liqe_jax.taxonomy import JOINT, TASK_SETS
from liqe_jax.text.tokenizer import END, START, Tokenizer

# Letters of several scripts, combined and single accents, spaces of several kinds, what CLIP splits and what it marks.
PIECES = (
    *("abc", "ABC", "'S", "'ll", "123", "é", "E", "e\u0301", "ß", "İ", "ﬁ", "你好", "🙂\u200d", "&amp;", "_-.,!?"),
    *(" ", "  ", "\t", "\n", "\u00a0", "\u200b", START, END),
)


@pytest.fixture(scope="module")
def reference():
    transformers = pytest.importorskip("transformers")
    default = Tokenizer.default()
    merges = [tuple(merge.split(" ")) for merge in default.merges]
    return transformers.CLIPTokenizer(vocab=default.vocab, merges=merges)


def padded(rows: list[list[int]], length: int = 77) -> np.ndarray:
    return np.array([row + [0] * (length - len(row)) for row in rows], np.int32)


@pytest.mark.parametrize("name", sorted(TASK_SETS))
def test_prompts_as_in_transformers(name, reference):
    prompts = list(TASK_SETS[name].prompts)
    np.testing.assert_array_equal(Tokenizer.default()(prompts), padded(reference(prompts)["input_ids"]))


def test_any_text_as_in_transformers(reference):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(PIECES, rng.integers(0, 9))) for _ in range(500)]
    np.testing.assert_array_equal(Tokenizer.default()(texts), padded(reference(texts)["input_ids"]))


def test_transformers_is_not_imported():
    program = (
        "import sys; from liqe_jax.text.tokenizer import Tokenizer; Tokenizer.default()(['a photo']);"
        "print('transformers' in sys.modules, 'tokenizers' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert out.stdout.split() == ["False", "True"]


def test_ends_and_padding():
    ids = Tokenizer.default()(JOINT.prompts[:3], 40)
    assert ids.shape == (3, 40)
    assert (ids[:, 0] == 49406).all()
    assert ((ids == 49407).sum(1) == 1).all()
    assert (ids[:, -1] == 0).all()
