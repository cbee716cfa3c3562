"""Sentences to token ids: CLIP's tokenizer, put together from the `tokenizers` library as transformers' is.

transformers takes a second and a half to import; the tests compare the two tokenizers.

`assets/clip_merges.txt.gz` holds OpenAI's 48,894 byte-pair merges (openai/CLIP,
bpe_simple_vocab_16e6.txt.gz, MIT licence); the vocabulary follows from them.
"""

from __future__ import annotations

import abc
import functools
import gzip
import importlib.resources
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from liqe_jax.bounded_io import parse_json, read_json, read_text
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.messages import printable, quoted

if TYPE_CHECKING:
    import tokenizers

START, END = "<|startoftext|>", "<|endoftext|>"

# What is one word (openai/CLIP, clip/simple_tokenizer.py:78; HTML is not unescaped, as in transformers).
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class BaseTokenizer(abc.ABC):
    """What an encoder and the formats of models need of a tokenizer."""

    vocab: dict[str, int]  # token -> id

    @classmethod
    @abc.abstractmethod
    def default(cls) -> BaseTokenizer:
        """The tokenizer of a model whose folder has none; ModelError where this package contains none."""

    @classmethod
    @abc.abstractmethod
    def from_folder(cls, folder: str | os.PathLike) -> BaseTokenizer | None:
        """Reads the tokenizer's files; None where there are none, ModelError where they are corrupt."""

    @abc.abstractmethod
    def save(self, folder: str | os.PathLike) -> None:
        """Writes the files that `from_folder` reads."""

    @abc.abstractmethod
    def __call__(self, sentences: Sequence[str], context_length: int) -> Int[np.ndarray, "K C"]:
        """Token ids, int32, padded to `context_length`; UsageError where a sentence has more tokens."""


def fitting_ids(
    sentences: Sequence[str], tokenizer: BaseTokenizer, vocab_size: int, context_length: int
) -> Int[np.ndarray, "K C"]:
    """Token ids, padded to `context_length`: UsageError for longer sentences, ModelError for another vocabulary."""
    ids = tokenizer(sentences, context_length)
    if ids.max() >= vocab_size:
        raise ModelError(
            f"The tokenizer gives ids up to {ids.max()}, and the model's vocabulary has {vocab_size} tokens. Put the "
            "model's own tokenizer files beside its config.json."
        )
    return ids


def padded_rows(
    sentences: Sequence[str], tokens: Sequence[list[int]], context_length: int, padding: int
) -> Int[np.ndarray, "K C"]:
    """The tokens of each sentence, int32, padded to `context_length`; UsageError where a sentence has more."""
    ids = np.full((len(tokens), context_length), padding, np.int32)
    for k, of_sentence in enumerate(tokens):
        if len(of_sentence) > context_length:
            raise UsageError(
                f"The prompt {sentences[k]!r} has {len(of_sentence)} tokens; the text tower takes {context_length}. "
                "Shorten the template or the labels."
            )
        ids[k, : len(of_sentence)] = of_sentence
    return ids


class Tokenizer(BaseTokenizer):
    """Byte-pair encoding with CLIP's rules; `merges` are pairs "left right", most important first."""

    def __init__(self, vocab: dict[str, int], merges: Sequence[str]):
        missing = [token for token in (START, END) if token not in vocab]
        if missing:
            raise ModelError(f"A CLIP vocabulary must contain {START} and {END}; {missing} not found.")
        self.vocab, self.merges = dict(vocab), tuple(merges)
        numbers = self.vocab.values()
        if set(map(type, numbers)) != {int} or min(numbers) < 0:
            raise ModelError("A CLIP vocabulary must give every token a number.")
        for merge in self.merges:
            left, _, right = merge.partition(" ")
            if not (left in self.vocab and right in self.vocab and left + right in self.vocab) or " " in right:
                raise ModelError(
                    f"The tokenizer's merge {quoted(merge)} joins no two tokens of its vocabulary. Give the "
                    "vocab.json and merges.txt that belong together."
                )

    @classmethod
    @functools.cache
    def default(cls) -> Tokenizer:
        """CLIP's own vocabulary of 49,408 tokens. All callers share one object and must not change it."""
        packed = importlib.resources.files("liqe_jax.assets").joinpath("clip_merges.txt.gz").read_bytes()
        merges = gzip.decompress(packed).decode().split("\n")
        # Printable stand-ins for the 256 bytes, in CLIP's order (openai/CLIP, clip/simple_tokenizer.py:17-36).
        themselves = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        characters = [chr(code) for code in (*themselves, *range(256, 512 - len(themselves)))]
        tokens = [*characters, *(c + "</w>" for c in characters), *(m.replace(" ", "") for m in merges), START, END]
        return cls({token: number for number, token in enumerate(tokens)}, merges)

    @classmethod
    def from_folder(cls, folder: str | os.PathLike) -> Tokenizer | None:
        """Reads `vocab.json` and `merges.txt`, or `tokenizer.json`; None where there is neither."""
        folder = Path(folder)
        try:
            if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
                return cls._of_files(read_text(folder / "vocab.json"), read_text(folder / "merges.txt"))
            if (folder / "tokenizer.json").exists():
                model = read_json(folder / "tokenizer.json")["model"]
                merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
                return cls(model["vocab"], merges)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"The tokenizer in {folder} is corrupt ({printable(error)}). Download the folder again."
            ) from error
        return None

    @classmethod
    @functools.lru_cache(maxsize=4)  # models of one process mostly have the same files, which take a tenth of a second
    def _of_files(cls, vocab: str, merges: str) -> Tokenizer:
        lines = merges.replace("\r\n", "\n").split("\n")
        return cls(parse_json(vocab), [line for line in lines if line and not line.startswith("#version")])

    def save(self, folder: str | os.PathLike) -> None:
        """Writes `vocab.json` and `merges.txt`, as transformers does."""
        folder = Path(folder)
        (folder / "vocab.json").write_text(json.dumps(self.vocab, ensure_ascii=False), "utf-8")
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *self.merges]) + "\n", "utf-8")

    @functools.cached_property
    def _backend(self) -> tokenizers.Tokenizer:
        import tokenizers

        pairs = [(left, right) for left, right in (merge.split(" ") for merge in self.merges)]
        backend = tokenizers.Tokenizer(
            tokenizers.models.BPE(self.vocab, pairs, unk_token=END, end_of_word_suffix="</w>")
        )
        spaces = tokenizers.normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
        backend.normalizer = tokenizers.normalizers.Sequence(
            [tokenizers.normalizers.NFC(), spaces, tokenizers.normalizers.Lowercase()]
        )
        words = tokenizers.pre_tokenizers.Split(tokenizers.Regex(_WORDS), behavior="removed", invert=True)
        backend.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
            [words, tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
        )
        ends = [(token, self.vocab[token]) for token in (START, END)]
        backend.post_processor = tokenizers.processors.TemplateProcessing(f"{START} $A {END}", special_tokens=ends)
        backend.add_special_tokens([START, END])
        return backend

    def __call__(self, sentences: Sequence[str], context_length: int = 77) -> Int[np.ndarray, "K C"]:
        """Token ids with start and end tokens, padded with 0 as OpenAI's code does."""
        tokens = [encoding.ids for encoding in self._backend.encode_batch(list(sentences))]
        return padded_rows(sentences, tokens, context_length, 0)
