"""What a training process asks of the system's memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os, sys
from liqe_jax.train.memory import restart_with_huge_pages
print("before", flush=True)
restart_with_huge_pages()
print("after", os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], os.getpid())
"""


def run(**extra: str) -> tuple[list[str], int]:
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    command = [sys.executable, "-W", "error", "-c", CODE, "a b", "--c=d"]
    with subprocess.Popen(command, env={**environment, **extra}, stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate()
        assert process.returncode == 0
        return out.splitlines(), process.pid


@pytest.fixture
def can_help() -> bool:
    """Whether this machine gives large pages to who asks."""
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return sys.platform == "linux" and pages.exists() and "[madvise]" in pages.read_text()


def test_a_program_starts_again_once_as_it_was_started(can_help):
    lines, pid = run()
    value = "glibc.malloc.hugetlb=1" if can_help else None
    assert lines == ["before"] * (1 + can_help) + [f"after {value} ['a b', '--c=d'] {pid}"]


def test_who_has_set_the_tunables_knows_better():
    lines, pid = run(GLIBC_TUNABLES="glibc.malloc.arena_max=2")
    assert lines == ["before", f"after glibc.malloc.arena_max=2 ['a b', '--c=d'] {pid}"]
