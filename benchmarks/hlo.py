"""Memory traffic and collectives of a compiled program, counted from its optimized HLO text.

XLA's own count (`cost_analysis`) adds up the reads and writes of all instructions, whichever memory they go to. On a
TPU many arrays never leave the chip: their layouts end in `S(1)`, which is vector memory (VMEM). Here the traffic of
HBM is counted alone. A fusion reads its operands once and writes its result once. A loop counts as often as it runs.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping

BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8}
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

# These move nothing themselves: they name memory, or their work is counted elsewhere.
_FREE = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "iota", "while", "call"}
_FREE |= {"conditional", "copy-done", "async-done", "slice-done", "partition-id", "replica-id", "opt-barrier"}

_ARRAY = re.compile(r"\b(pred|[suf]\d+|bf16)\[([\d,]*)\](\{[^}]*\})?")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)$")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_CALLED = re.compile(r"(?:calls|body|to_apply)=%([\w.-]+)")
_TRIPS = re.compile(r'known_trip_count"?:\{"?n"?:"?(\d+)')
_CHAIN = re.compile(r'chain_id="(\w+)"')
_CONDITION = re.compile(r"condition=%([\w.-]+)")
_OPERATION = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line: its result's type as text, what it does, the names of its operands, and the rest of the line."""

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    rest: str


Computations = dict[str, dict[str, Instruction]]


def parse(text: str) -> tuple[str, Computations]:
    """Name of the entry computation, and all computations."""
    entry, current = "", {}
    computations: Computations = {}
    for line in text.splitlines():
        if start := _COMPUTATION.match(line):
            current = computations.setdefault(start[2], {})
            entry = start[2] if start[1] else entry
        elif found := _INSTRUCTION.match(line):
            operands = re.findall(r"%([\w.-]+)", _arguments(found[5]))
            current[found[2]] = Instruction(found[2], found[3], found[4], tuple(operands), found[5])
    return entry, computations


def _arguments(rest: str) -> str:
    depth = 1
    for place, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return rest[:place]
    return rest


def sizes(type_text: str) -> tuple[int, int]:
    """Bytes of a type's arrays in HBM and in vector memory; scalar and flag memory, S(2) and above, are left out."""
    hbm = chip = 0
    for kind, shape, layout in _ARRAY.findall(type_text):
        count = BYTES.get(kind, 4)
        for side in filter(None, shape.split(",")):
            count *= int(side)
        if "S(1)" in layout:
            chip += count
        elif "S(" not in layout:
            hbm += count
    return hbm, chip


@dataclasses.dataclass
class Collective:
    """An exchange between chips: its kind, its first shapes as text, how often it runs, the bytes of its result."""

    kind: str
    shape: str
    times: int
    bytes: int
    asynchronous: bool


@dataclasses.dataclass
class Traffic:
    """Bytes of one run of a program on one chip.

    Attributes:
      hbm: what is read from HBM and written to it.
      chip: the same of on-chip memory.
      by_operation: HBM bytes by JAX operation.
      collectives: in the order of the program.
      chains: asynchronous collectives that are counted already.
    """

    hbm: int = 0
    chip: int = 0
    by_operation: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    collectives: list[Collective] = dataclasses.field(default_factory=list)
    chains: set[tuple[str, str, str]] = dataclasses.field(default_factory=set, repr=False)


def traffic(text: str) -> Traffic:
    """Counts a whole program."""
    entry, computations = parse(text)
    total = Traffic()
    _count(computations[entry], computations, 1, total)
    return total


def _count(body: Mapping[str, Instruction], computations: Computations, times: int, total: Traffic) -> None:
    for one in body.values():
        called = _CALLED.findall(one.rest)
        if one.opcode in ("while", "call", "conditional"):
            trips = _trips(one, computations)
            for name in called:
                _count(computations[name], computations, times * trips, total)
        if one.opcode in _FREE:
            continue
        _count_collectives(one, [computations[name] for name in called if name in computations], times, total)
        hbm, chip = _moved(one, body, computations.get(called[0], {}) if called else {})
        total.hbm += times * hbm
        total.chip += times * chip
        named = _OPERATION.search(one.rest)
        total.by_operation[named[1] if named else one.opcode] += times * hbm


def _trips(one: Instruction, computations: Computations) -> int:
    """How often a loop runs: as stated, else what its condition compares the counter with, else once."""
    if stated := _TRIPS.search(one.rest):
        return int(stated[1])
    condition = computations.get((_CONDITION.search(one.rest) or ["", ""])[1], {})
    bounds = [re.match(r"\d+", part.rest) for part in condition.values() if part.opcode == "constant"]
    return max((int(bound[0]) for bound in bounds if bound), default=1)


def _moved(one: Instruction, body: Mapping[str, Instruction], fused: Mapping[str, Instruction]) -> tuple[int, int]:
    hbm, chip = sizes(one.type)
    if one.opcode.endswith("-start") and one.operands[0] in body:
        # Its result names the source too; what arrives is what is read.
        source = sizes(body[one.operands[0]].type)
        arrived = max(hbm - source[0], 0), max(chip - source[1], 0)
        return arrived[0] + bool(source[0]) * sum(arrived), arrived[1] + (not source[0]) * sum(arrived)
    parameters = [inner for inner in fused.values() if inner.opcode == "parameter"]
    parameters.sort(key=lambda inner: int(re.match(r"\d+", inner.rest)[0]))  # type: ignore[index]
    if root := _updated_in_place(fused):
        hbm, chip = sizes(root)
    for place, name in enumerate(one.operands):
        if name not in body:
            continue
        read = sizes(body[name].type)
        if place < len(parameters):
            read = _used(parameters[place], fused, read)
        elif one.opcode in ("dynamic-slice", "gather") and place == 0:
            read = sizes(one.type)
        hbm, chip = hbm + read[0], chip + read[1]
    return hbm, chip


def _used(parameter: Instruction, fused: Mapping[str, Instruction], whole: tuple[int, int]) -> tuple[int, int]:
    """What a fusion reads of an operand: of one that is only sliced or gathered from, what is taken."""
    users = [inner for inner in fused.values() if parameter.name in inner.operands]
    taken = 0
    for user in users:
        if user.opcode in ("dynamic-slice", "gather", "slice") and user.operands[0] == parameter.name:
            taken += sum(sizes(user.type))
        elif not (user.opcode == "dynamic-update-slice" and user.operands[0] == parameter.name):
            return whole
    return (min(taken, whole[0]), 0) if whole[0] else (0, min(taken, whole[1]))


def _updated_in_place(fused: Mapping[str, Instruction]) -> str:
    """Type of what is written where a fusion ends in the update of a slice, else ""."""
    last = list(fused.values())[-1] if fused else None
    while last is not None and last.opcode == "bitcast":
        last = fused.get(last.operands[0])
    if last is None or last.opcode != "dynamic-update-slice":
        return ""
    written = fused.get(last.operands[1])
    if written is None:
        return ""
    return written.type if "S(" in last.type or "S(" not in written.type else written.type.replace("S(", "(")


def _count_collectives(
    one: Instruction, inner: Iterable[Mapping[str, Instruction]], times: int, total: Traffic
) -> None:
    bodies = list(inner)
    found = [one] if one.opcode.removesuffix("-start") in COLLECTIVES else []
    for body in bodies:
        found += [part for part in body.values() if part.opcode in COLLECTIVES]
    # A fused collective is started in one fusion and carried on in later ones, which name the same chain.
    asynchronous = "AsyncCollective" in str(bodies) or one.opcode.endswith("-start")
    for part in found:
        chain = _CHAIN.search(part.rest)
        if chain and (part.opcode, part.type, chain[1]) in total.chains:
            continue
        if chain:
            total.chains.add((part.opcode, part.type, chain[1]))
        shape = " ".join(f"{kind}[{size}]" for kind, size, _ in _ARRAY.findall(part.type)[:3])
        kind, size = part.opcode.removesuffix("-start"), sum(sizes(part.type))
        total.collectives.append(Collective(kind, shape, times, size, asynchronous))
