"""Keeps a training process on a CPU as small as its arrays, and its pages large."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

# mallopt's M_MMAP_THRESHOLD (malloc.h), and a size that is larger than what Python allocates and smaller
# than a layer's activations.
M_MMAP_THRESHOLD = -3
THRESHOLD_BYTES = 4 << 20


def return_freed_memory() -> bool:
    """Makes glibc give arrays back to the system when they are freed; true if that was possible.

    Left alone, it keeps blocks of up to 32 MB in its heap, where they cannot be joined: a step of a
    ViT-B/32 with 4 x 3 patches then takes 7.1 GB instead of 5.3. For whole processes (`train.py`), since
    it changes how everything in the process allocates.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(M_MMAP_THRESHOLD, THRESHOLD_BYTES))


_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages() -> None:
    """Starts this program again, in the same process, with glibc asking Linux for pages of 2 MB.

    A step's activations are new memory each time. In pages of 4 KB a ViT-B/32 with 4 x 3 patches meets 1.1
    million of them, a fifth of the processor's time. Only where it can help: where the kernel gives such pages to
    who asks, glibc is 2.35 or newer, and the environment does not say GLIBC_TUNABLES already.
    """
    if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ or not sys.executable:
        return
    try:
        asked_for = "[madvise]" in _HUGE_PAGES.read_text()
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (OSError, ValueError):  # no such kernel, no glibc
        return
    if not asked_for or name != "glibc" or tuple(map(int, version.split(".")[:2])) < (2, 35):
        return
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def compiled_ahead(step: Any, *arguments: Any) -> Callable[..., Any]:
    """A pmapped step compiled for such arguments; what compiling took goes back to the system before it runs.

    That is 0.6 GB for a ViT-B/32, and as much again of what the state was made of. With several processes the
    step stays as it is: its arguments are then this host's share only.
    """
    if jax.process_count() > 1:
        return step
    compiled = step.lower(*arguments).compile()
    gc.collect()  # JAX keeps what a pmapped function was given in cycles
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)
    return compiled
