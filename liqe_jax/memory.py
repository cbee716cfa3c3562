"""When memory is freed, by Python and by glibc. The settings apply to the whole process.

A forward pass or a training step frees its large arrays, and the next one allocates them again. Memory that was
returned in between comes back page by page, filled with zeros, which takes time. Memory that is kept is not available
to other programs.
"""

from __future__ import annotations

import ctypes
import gc
import sys

# Parameters of mallopt (malloc.h). Up to these thresholds, in bytes, glibc keeps freed memory. Values are 32-bit.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BELOW = 1 << 30

# Larger than what Python allocates and smaller than a layer's activations, in bytes.
_RETURN_ABOVE = 4 << 20

# For gc.set_threshold: new objects before the youngest are looked at, how often these before older ones, and how often
# these before the oldest. Python's own are 700 (2,000 from Python 3.13), 10 and 10.
_GARBAGE_THRESHOLDS = (50_000, 20, 10)


def collect_garbage_rarely() -> None:
    """Lets Python look for cyclic garbage less often.

    Importing JAX and tracing make millions of objects that live on. Looking for garbage among them delays a command.
    """
    gc.set_threshold(*_GARBAGE_THRESHOLDS)


def keep_freed_memory() -> bool:
    """Keeps the memory of one forward pass for the next; returns False where the C library is not glibc.

    `liqe_nano` scores a fifth more images per second and takes 180 MB more (`python benchmarks/memory.py`).
    """
    kept = _glibc("mallopt", _M_MMAP_THRESHOLD, _KEEP_BELOW)
    return _glibc("mallopt", _M_TRIM_THRESHOLD, _KEEP_BELOW) and kept


def return_freed_memory() -> bool:
    """Returns arrays to the system when they are freed; returns False where the C library is not glibc.

    By default glibc keeps blocks of up to 32 MB: a training step of a ViT-B/32 with 4 x 3 crops takes 7.1 GB instead
    of 5.3.
    """
    return _glibc("mallopt", _M_MMAP_THRESHOLD, _RETURN_ABOVE)


def trim() -> bool:
    """Returns all memory that is free now to the system; returns False if there was none, or without glibc."""
    return _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> bool:
    """Calls a function of glibc; False where it does not exist or fails."""
    found = getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None
    return bool(found and found(*arguments))
