"""What glibc does with freed memory: settings of a whole process, for programs to choose.

A forward pass or a training step frees its large arrays, and the next one needs as many again. Memory that went back
to the system in between has to be filled with zeros, which takes time. Memory that was kept serves nothing else.
"""

from __future__ import annotations

import ctypes
import sys

# Of mallopt (malloc.h), whose values are 32-bit: below these sizes, bytes, memory is kept.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 1 << 30

# Larger than what Python allocates and smaller than a layer's activations, bytes.
_SMALLER_THAN_A_LAYER = 4 << 20


def keep_freed_memory() -> bool:
    """For scoring: memory of one call is kept for the next; true if that was possible.

    `liqe_nano` scores a fifth more images a second, with 180 MB more (`python benchmarks/memory.py`).
    """
    kept = _glibc("mallopt", _M_MMAP_THRESHOLD, _LARGEST)
    return _glibc("mallopt", _M_TRIM_THRESHOLD, _LARGEST) and kept


def return_freed_memory() -> bool:
    """For training steps of large encoders: arrays go back when they are freed; true if that was possible.

    Left alone, glibc keeps blocks of up to 32 MB: a step of a ViT-B/32 with 4 x 3 crops takes 7.1 GB instead of 5.3.
    """
    return _glibc("mallopt", _M_MMAP_THRESHOLD, _SMALLER_THAN_A_LAYER)


def trim() -> bool:
    """Returns what is free now; true if that was possible."""
    return _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> bool:
    """Calls a function of glibc; false where there is none, or it fails."""
    found = getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None
    return bool(found and found(*arguments))
