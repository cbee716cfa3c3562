"""Models by name: the Hugging Face hub, its cache, and what to do without a network."""

from __future__ import annotations

import inspect
import os
import re
import socket
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from liqe_jax.errors import ModelError
from liqe_jax.messages import printable
from liqe_jax.weights.known import KNOWN_MODELS
from liqe_jax.weights.native import MANIFEST, TEXT_FEATURES, TOKENIZER_FILES
from liqe_jax.weights.read import HUGGING_FACE_WEIGHTS, shard_names

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)

# How often the bytes of a file may be sent before a download is given up.
_MOST_TIMES = 3

# Seconds in which a connection to the hub must open; a slow line needs one.
_PATIENCE = 10.0


def is_repository_name(name: str) -> bool:
    """Whether `name` has the form owner/model."""
    return bool(_REPOSITORY.fullmatch(name))


def models_folder() -> Path:
    """Where weight files may be put by hand: $LIQE_HOME, or ~/.cache/liqe_jax, with /models."""
    if home := os.environ.get("LIQE_HOME"):
        return Path(home) / "models"
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "liqe_jax" / "models"
    try:
        return Path.home() / ".cache" / "liqe_jax" / "models"
    except RuntimeError as error:  # in a container, a user without an entry
        raise ModelError("Your user has no home folder. Set LIQE_HOME to a folder for models and caches.") from error


def fetch_known(name: str) -> Path:
    """The file of a known model: put there by hand, cached, or downloaded; ModelError says what to put where."""
    known = KNOWN_MODELS[name]
    by_hand = models_folder() / known.file
    if by_hand.exists():
        return by_hand
    remedy = (
        f"Download {known.file} from the page huggingface.co/{known.repository} on a machine with a network, and put "
        f"it at {by_hand}, or give its path as the model."
    )
    return _download(known.repository, known.file, remedy, local_only=not hub_answers())


def fetch_repository(name: str) -> Path:
    """The local folder of a repository's files, downloaded or cached; ModelError without weights or a connection."""
    remedy = (
        f"Download config.json and one of {', '.join(HUGGING_FACE_WEIGHTS)} from the page huggingface.co/{name}, put "
        "them in a folder, and give the folder as the model."
    )
    local_only = not hub_answers()
    config = _download(name, "config.json", remedy, local_only)
    for optional in (MANIFEST, TEXT_FEATURES, *TOKENIZER_FILES):
        _optional(name, optional, local_only)
    for weights in HUGGING_FACE_WEIGHTS:
        found = _optional(name, weights, local_only)
        if found and weights.endswith(".index.json"):
            for shard in shard_names(found):
                _download(name, shard, remedy, local_only)
        if found:
            return config.parent
    raise ModelError(f"The repository {name} holds none of {', '.join(HUGGING_FACE_WEIGHTS)}. {remedy}")


def hub_answers() -> bool:
    """Whether the hub, or $HF_ENDPOINT, accepts a connection; always so behind a proxy.

    huggingface_hub by itself would try for half a minute with every file.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    address = urlsplit(constants.ENDPOINT)
    proxies = urllib.request.getproxies()
    if not address.hostname or address.scheme in proxies or "all" in proxies:
        return True
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname, port), _PATIENCE).close()
    except OSError:
        return False
    return True


class _NotThereError(ModelError):
    """The repository has no such file, or the cache has none and there is no network."""


def _optional(repository: str, file: str, local_only: bool) -> Path | None:
    try:
        return _download(repository, file, "", local_only)
    except _NotThereError:
        return None


def _download(repository: str, file: str, remedy: str, local_only: bool) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    bounded: dict[str, Any] = {}
    if "tqdm_class" in inspect.signature(hf_hub_download).parameters:  # not in every version that we admit
        bounded["tqdm_class"] = _bounded_bar()
    try:
        return Path(hf_hub_download(repository, file, local_files_only=local_only, **bounded))
    except LocalEntryNotFoundError as error:  # an EntryNotFoundError too, but it means: offline
        raise _NotThereError(
            f"{repository}/{file} is not in the cache and the hub cannot be reached. {remedy}"
        ) from error
    except EntryNotFoundError as error:
        raise _NotThereError(f"The repository {repository} has no {file}. {remedy}") from error
    except Exception as error:  # what carries the bytes has errors of its own, for a cut line for one
        raise ModelError(
            f"Cannot fetch {repository}/{file}: {printable(error, 500)}. Try again, or: {remedy}"
        ) from error


def _bounded_bar() -> type:
    """A progress bar that ends a download which begins again and again: huggingface_hub would try for ever."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        taken = 0.0

        def update(self, n: float | None = 1) -> Any:
            self.taken += max(n or 0, 0)
            if self.total and self.taken > _MOST_TIMES * self.total:
                raise OSError(
                    f"the connection broke again and again: {self.taken:.0f} bytes came of a file of {self.total}"
                )
            return super().update(n)

    return Bar
