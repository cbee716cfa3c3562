"""Counting of memory traffic, and compiling for a TPU where its compiler is installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from benchmarks.accelerator import peak_of
from benchmarks.hlo import sizes, traffic
from benchmarks.tpu import link_bytes

from .runs import ROOT, environment

PROGRAM = """HloModule small

%fused (p.0: f32[100,8], p.1: s32[]) -> f32[1,8] {
  %p.0 = f32[100,8]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %cut = f32[1,8]{1,0} dynamic-slice(%p.0, %p.1, %zero), dynamic_slice_sizes={1,8}
}

%body (p: (s32[], f32[4,4])) -> (s32[], f32[4,4]) {
  %p = (s32[], f32[4,4]{1,0}) parameter(0)
  %i = s32[]{:S(4)} get-tuple-element(%p), index=0
  %x = f32[4,4]{1,0} get-tuple-element(%p), index=1
  %y = f32[4,4]{1,0} negate(%x), metadata={op_name="jit(f)/neg"}
  ROOT %t = (s32[], f32[4,4]{1,0}) tuple(%i, %y)
}

ENTRY %main (a: f32[100,8], n: s32[], x: f32[4,4]) -> f32[4,4] {
  %a = f32[100,8]{1,0} parameter(0)
  %n = s32[]{:S(4)} parameter(1)
  %x = f32[4,4]{1,0} parameter(2)
  %row = f32[1,8]{1,0} fusion(%a, %n), kind=kLoop, calls=%fused
  %near = (f32[100,8]{1,0:S(1)}, f32[100,8]{1,0}, u32[]{:S(2)}) copy-start(%a)
  %here = f32[100,8]{1,0:S(1)} copy-done(%near)
  %all = f32[8,4,4]{2,1,0} all-gather(%x), channel_id=1, dimensions={0}
  %sum = f32[4,4]{1,0} all-reduce(%x), channel_id=1, to_apply=%add
  %start = (s32[], f32[4,4]{1,0}) tuple(%n, %x)
  %loop = (s32[], f32[4,4]{1,0}) while(%start), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %out = f32[4,4]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_traffic_of_a_program_is_counted_by_hand():
    found = traffic(PROGRAM)
    row = 32 + 32  # a slice is read, not the table that it is taken from
    near = 3200  # read from HBM; written to the chip's memory
    collectives = (512 + 64) + (64 + 64)
    loop = 5 * (64 + 64)
    assert found.hbm == row + near + collectives + loop
    assert found.chip == 3200
    assert found.by_operation["jit(f)/neg"] == loop
    assert [(one.kind, one.bytes, one.times) for one in found.collectives] == [
        ("all-gather", 512, 1),
        ("all-reduce", 64, 1),
    ]
    assert link_bytes(found, 8) == pytest.approx(7 / 8 * 512 + 2 * 7 / 8 * 64)


def test_memory_spaces_are_told_apart():
    assert sizes("(bf16[2,3]{1,0:T(8,128)(2,1)}, f32[5]{0:T(128)S(1)}, pred[], u32[]{:S(2)})") == (12 + 1, 20)


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu, the TPU compiler, is not installed: pip install '.[tpu-compile]' on Linux, x86-64",
)
def test_the_step_and_scoring_compile_for_a_tpu():
    command = [sys.executable, "benchmarks/tpu.py", "--small"]
    result = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("fits") == 2
    assert "all-reduce" in result.stdout


def test_the_accelerator_script_measures_on_any_device(tmp_path):
    command = [sys.executable, "benchmarks/accelerator.py", "--small", "--limit", "8", "--output", f"{tmp_path}/a.json"]
    result = subprocess.run(command, cwd=ROOT, env=environment(2), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "a.json").read_text())
    assert (found["devices"], len(found["rows"])) == (2, 4)
    assert result.stdout.count("| tiny |") == 4
    first = found["rows"][0]
    assert (first["what"], first["dtype"]) == ("scoring", "float32")
    assert first["images_per_second"] > 0
    assert first["largest_difference_from_cpu"] < 1e-4


def test_peaks_are_found_by_the_longest_name():
    assert peak_of("TPU v5 lite") == 197e12
    assert peak_of("TPU v5p") == 459e12
    assert peak_of("NVIDIA H200") == 989e12
    assert peak_of("cpu") is None
