"""The tokenizers of SigLIP and SigLIP 2 against those of transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import models

from liqe_jax.errors import ModelError, UsageError
from liqe_jax.taxonomy import JOINT
from liqe_jax.text.siglip import SigLIPTokenizer

from .tiny_siglip import gemma_tokenizer, unigram_tokenizer

PROMPTS = JOINT.prompts

SENTENCES = (
    "A photo of a Landscape with Blur artifacts, which is of BAD quality!",
    "  two   spaces,\ttabs \n and (brackets) ",
    "don't; JPEG-2000's",
    "",
    "Größe ÉMILE",
    *PROMPTS[::45],
)


def test_siglip_text_is_canonical_and_padded_with_the_end_token(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    unigram_tokenizer(canonical=True).save(str(tmp_path / "tokenizer.json"))
    reference = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path, pad_token="</s>", unk_token="<unk>")
    want = reference(list(SENTENCES), padding="max_length", max_length=64)["input_ids"]
    for canonical in (False, True):
        ours = SigLIPTokenizer(unigram_tokenizer(canonical).to_str())(SENTENCES)
        assert ours.dtype == np.int32
        np.testing.assert_array_equal(ours, want)
    np.testing.assert_array_equal(ours[3], np.ones(64))  # nothing but end tokens


def test_siglip2_text_is_lower_case_and_padded_on_the_right(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    gemma_tokenizer().save(str(tmp_path / "tokenizer.json"))
    reference = transformers.Siglip2Tokenizer.from_pretrained(tmp_path, padding_side="right")
    want = reference(list(SENTENCES), padding="max_length", max_length=64)["input_ids"]
    ours = SigLIPTokenizer.from_folder(tmp_path)
    np.testing.assert_array_equal(ours(SENTENCES), want)
    np.testing.assert_array_equal(ours(["a photo"]), ours(["A PHOTO"]))
    assert ours.vocab == reference.get_vocab()


@pytest.mark.parametrize("kind", [unigram_tokenizer(canonical=False), gemma_tokenizer()], ids=["siglip", "siglip2"])
def test_too_long_a_sentence_is_refused(kind: tokenizers.Tokenizer) -> None:
    tokenizer = SigLIPTokenizer(kind.to_str())
    assert tokenizer(["a photo"], 20).shape == (1, 20)
    with pytest.raises(UsageError, match=r"'photo photo.*\d+ tokens; the text tower takes 64"):
        tokenizer(["photo " * 64])


def test_the_file_is_written_as_it_was_read(tmp_path: Path) -> None:
    gemma_tokenizer().save(str(tmp_path / "tokenizer.json"), pretty=False)
    (tmp_path / "copy").mkdir()
    SigLIPTokenizer.from_folder(tmp_path).save(tmp_path / "copy")
    assert (tmp_path / "copy/tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    assert SigLIPTokenizer.from_folder(tmp_path / "copy") == SigLIPTokenizer.from_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    assert SigLIPTokenizer.from_folder(tmp_path / "empty") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "corrupt"),
        ('{"model": 3}', "corrupt"),
        (tokenizers.Tokenizer(models.WordLevel({"a": 0}, "a")).to_str(), "holds a WordLevel model; expected Unigram"),
        (tokenizers.Tokenizer(models.BPE({"a": 0}, [])).to_str(), "BPE model without <eos>"),
        (tokenizers.Tokenizer(models.Unigram([("a", 0.0)], 0)).to_str(), "Unigram model without </s>"),
    ],
)
def test_other_tokenizers_are_refused(content: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        SigLIPTokenizer(content)(["a"])
