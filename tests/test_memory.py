"""What Python and glibc do with freed memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PAGES = """
import resource, sys
import numpy as np
from liqe_jax import memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(40 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(memory.return_freed_memory())
returned = new_pages()
print(memory.keep_freed_memory())
new_pages()
print(new_pages() < 1000 < returned)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other settings")
def test_memory_is_kept_or_returned():
    done = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]


# Prints the threshold when JAX is imported, which makes most of a command's objects.
THRESHOLD = """
import gc, runpy, sys

class Watching:
    def find_spec(self, name, *_):
        if name == "jax":
            print(gc.get_threshold()[0])

sys.meta_path.insert(0, Watching())
program, *sys.argv[1:] = sys.argv[1:]
run = runpy.run_path if program.endswith(".py") else runpy.run_module
run(program, run_name="__main__")
"""


@pytest.mark.parametrize("arguments", [("liqe_jax.cli.main", "info", "liqe_nano"), ("train.py",), ("eval.py",)])
def test_commands_look_for_garbage_rarely(arguments):
    done = subprocess.run(
        [sys.executable, "-c", THRESHOLD, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert int(done.stdout.splitlines()[0]) > 10_000, done.stderr
