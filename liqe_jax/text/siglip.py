"""SigLIP's tokenizers: `tokenizer.json` of a model folder, with the text prepared as in training.

SigLIP has a SentencePiece unigram model and SigLIP 2 the byte-pair encoding of Gemma.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from liqe_jax.bounded_io import read_text
from liqe_jax.errors import ModelError
from liqe_jax.messages import printable
from liqe_jax.text.tokenizer import BaseTokenizer, padded_rows

if TYPE_CHECKING:
    import tokenizers

FILE = "tokenizer.json"

# Class of the model in `tokenizer.json` -> tokens at the end of a sentence and after it. SigLIP pads with the end
# token (transformers, SiglipTokenizer: pad_token), SigLIP 2 with one of its own (Siglip2Tokenizer).
_END_AND_PADDING = {"Unigram": ("</s>", "</s>"), "BPE": ("<eos>", "<pad>")}
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclasses.dataclass(frozen=True)
class SigLIPTokenizer(BaseTokenizer):
    """The tokenizer of a SigLIP or a SigLIP 2; `content` of `tokenizer.json` is parsed at first use."""

    content: str = dataclasses.field(repr=False)

    @classmethod
    def default(cls) -> SigLIPTokenizer:
        """Refuses (ModelError): this package contains no vocabulary of SigLIP's."""
        raise ModelError(f"A SigLIP needs the {FILE} of its model folder, beside config.json, and there is none.")

    @classmethod
    def from_folder(cls, folder: str | os.PathLike) -> SigLIPTokenizer | None:
        """Reads `tokenizer.json`; None where there is none."""
        path = Path(folder) / FILE
        try:
            return cls(read_text(path)) if path.exists() else None
        except OSError as error:
            raise ModelError(f"Cannot read the tokenizer {path} ({printable(error)}).") from error
        except ValueError as error:
            raise ModelError(f"The tokenizer {path} is corrupt ({printable(error)}). Download it again.") from error

    def save(self, folder: str | os.PathLike) -> None:
        """Writes `tokenizer.json` as it was read."""
        (Path(folder) / FILE).write_text(self.content, "utf-8")

    @functools.cached_property
    def vocab(self) -> dict[str, int]:  # type: ignore[override]
        """Token -> id."""
        return self._backend.get_vocab()

    @functools.cached_property
    def _backend(self) -> tokenizers.Tokenizer:
        import tokenizers

        try:
            backend = tokenizers.Tokenizer.from_str(self.content)
        except Exception as error:  # the library raises nothing more specific
            raise ModelError(f"{FILE} is corrupt ({printable(error)}). Download the model folder again.") from error
        kind = type(backend.model).__name__
        if kind not in _END_AND_PADDING:
            raise ModelError(
                f"{FILE} holds a {kind} model; expected Unigram (SigLIP) or BPE (SigLIP 2). Give the file of the model."
            )
        missing = [token for token in _END_AND_PADDING[kind] if backend.token_to_id(token) is None]
        if missing:
            raise ModelError(
                f"{FILE} holds a {kind} model without {missing[0]}, which a SigLIP has. Give the file of the model."
            )
        # The published files may cut and pad by themselves; too long a sentence is to be refused.
        backend.no_truncation()
        backend.no_padding()
        return backend

    def _prepared(self, sentence: str) -> str:
        """The text as in training.

        SigLIP: lower case, no ASCII punctuation, single spaces (transformers, SiglipTokenizer.canonicalize_text, after
        big_vision's evaluators/proj/image_text/prompt_engineering.py). SigLIP 2: lower case (Siglip2Tokenizer).
        """
        import tokenizers

        if isinstance(self._backend.model, tokenizers.models.Unigram):
            return re.sub(r"\s+", " ", sentence.lower().translate(_PUNCTUATION)).strip()
        return tokenizers.normalizers.Lowercase().normalize_str(sentence)

    def __call__(self, sentences: Sequence[str], context_length: int = 64) -> Int[np.ndarray, "K C"]:
        """Token ids, each with an end token and padded to `context_length`; ModelError where the file is corrupt."""
        backend = self._backend
        end, padding = (self.vocab[token] for token in _END_AND_PADDING[type(backend.model).__name__])
        # Without Gemma's start token: SigLIP 2 is trained without.
        encodings = backend.encode_batch([self._prepared(sentence) for sentence in sentences], add_special_tokens=False)
        return padded_rows(sentences, [[*encoding.ids, end] for encoding in encodings], context_length, padding)
