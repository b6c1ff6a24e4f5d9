# SPDX-License-Identifier: Apache-2.0
"""Where values come from and go to: special registers, constants, memory, other lanes, other types."""

from __future__ import annotations

import math
import struct

from benchmarks.prediction.machine import MASK, Machine, is_predicate, signed
from benchmarks.prediction.sass import Instruction
from benchmarks.prediction.steps import Step, unknown, words_of

# A byte or half word that is stored is found again as such; nobody mixes it with the word around it.
_SMALL = {"U8", "S8", "U16", "S16"}
_NARROW = 1 << 40


def special_register(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Read an index of the thread or block; clocks and the like are unknown."""
    place = machine.place
    known = {
        "SR_TID.X": place.thread,
        "SR_TID.Y": 0,
        "SR_TID.Z": 0,
        "SR_LANEID": place.thread % 32,
        "SR_LTMASK": (1 << place.thread % 32) - 1,
        "SR_CTAID.X": place.block[0],
        "SR_CTAID.Y": place.block[1],
        "SR_CTAID.Z": place.block[2],
        "SR_CgaCtaId": 0,
        "SRZ": 0,
    }
    words = 2 if instruction.base == "CS2R" and "32" not in flags else 1
    result, value = machine.setter(instruction.operands[0], words), known.get(instruction.operands[1])
    return lambda: result(value)


def constant_bank(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Read the arguments."""
    words = words_of(flags)
    result, read = machine.setter(instruction.operands[0], words), machine.get(instruction.operands[1], 4 * words)
    small = {"U8": 0xFF, "U16": 0xFFFF}.get(next(iter(flags & {"U8", "U16"}), ""))

    def step() -> None:
        value = read()
        result(value if small is None or value is None else value & small)

    return step


def load_global(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Read global memory, which is known where the case's own tensors lie."""
    size = next(
        (bytes_ for name, bytes_ in (("U8", 1), ("S8", 1), ("U16", 2), ("S16", 2)) if name in flags),
        4 * words_of(flags),
    )
    operands = [operand for operand in instruction.operands if not is_predicate(operand)]
    result = machine.setter(operands[0], words_of(flags))
    at = machine.address(operands[1], wide_base=True)

    def step() -> None:
        value = machine.load(at(), size)
        if value is not None and flags & {"S8", "S16"}:
            value = signed(value, 8 * size) & MASK
        result(value)

    return step


def load_shared(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Read what this block was seen to store."""
    words, place = words_of(flags), _NARROW if flags & _SMALL else 0
    result, at = (
        machine.setter(instruction.operands[0], words),
        machine.address(instruction.operands[1], wide_base=False),
    )

    def step() -> None:
        address = at()
        found = [None if address is None else machine.shared.get(address + place + 4 * word) for word in range(words)]
        value = 0
        for word, part in enumerate(found):
            if part is None:
                result(None)
                return
            value |= part << 32 * word
        result(value)

    return step


def store_shared(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Keep what is stored, so that other threads of the block find it."""
    words, place = words_of(flags), _NARROW if flags & _SMALL else 0
    at, value = machine.address(instruction.operands[0], wide_base=False), machine.get(instruction.operands[1], 8)
    narrow = machine.get(instruction.operands[1])

    def step() -> None:
        address, stored = at(), narrow() if words == 1 else value()
        if address is not None:
            for word in range(words):
                part = stored >> 32 * word & MASK if stored is not None and word < 2 else None
                machine.shared[address + place + 4 * word] = part

    return step


def atomic(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Return what the place says an atomic operation finds."""
    if instruction.base == "ATOMS":
        return unknown(machine, instruction, flags)
    operands = [operand for operand in instruction.operands if not is_predicate(operand)]
    result = machine.setter(operands[0], words_of(flags))
    return lambda: result(machine.place.atomic)


def shuffle(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Take over another lane's value: unknown, unless it is the own one."""
    operands = [operand for operand in instruction.operands if not is_predicate(operand)]
    result, value, lane = machine.setter(operands[0]), machine.get(operands[1]), machine.get(operands[2])
    return lambda: result(value() if "IDX" in flags and lane() == machine.place.thread % 32 else None)


def vote(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """All lanes are taken to hold what this one holds.

    A vote on what is always true asks which lanes are there at all, as the compiler does before an atomic operation of
    one of them: this one.
    """
    outputs = list(instruction.operands[:2]) if len(instruction.operands) > 2 else list(instruction.operands[:1])
    given = machine.predicate(instruction.operands[-1])
    lanes = 1 << machine.place.thread % 32 if instruction.operands[-1] == "PT" else MASK
    setters = [(machine.setter(operand), 1 if is_predicate(operand) else lanes) for operand in outputs]

    def step() -> None:
        value = given()
        for setter, full in setters:
            setter(None if value is None else full * value)

    return step


def halves(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Handle the constants that compilers write as 0 * 0 + two float16 numbers."""
    operands = instruction.operands
    if len(operands) < 5 or operands[1].lstrip("-") != "RZ" or operands[2] != "RZ":
        return unknown(machine, instruction, flags)
    result = machine.setter(operands[0])
    high, low = (struct.unpack("<H", struct.pack("<e", float(text)))[0] for text in operands[3:5])
    value = high << 16 | low
    return lambda: result(value)


def _as_float(bits: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


def _as_bits(value: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def to_float(flags: set[str], x: int) -> int:
    """Convert an integer to float32."""
    number = signed(x) if flags & {"S32", "F32.S32"} or not flags & {"U32"} else x
    bits = _as_bits(float(number))
    return bits + 1 if "RP" in flags and _as_float(bits) < number else bits


def to_integer(flags: set[str], x: int) -> int:
    """Convert float32 to an integer."""
    number = _as_float(x)
    if math.isnan(number):
        return 0
    low, high = (0, MASK) if "U32" in flags else (-(1 << 31), (1 << 31) - 1)
    whole = math.floor(number) if "FLOOR" in flags else math.ceil(number) if "CEIL" in flags else math.trunc(number)
    return min(max(whole, low), high) & MASK if math.isfinite(number) else (high if number > 0 else low) & MASK


def special_function(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Compute a reciprocal, which integer division starts from; nothing else is followed."""
    if "RCP" not in flags:
        return unknown(machine, instruction, flags)
    result, read = machine.setter(instruction.operands[0]), machine.get(instruction.operands[1])

    def step() -> None:
        value = read()
        number = None if value is None else _as_float(value)
        result(_as_bits(1.0 / number) if number is not None and abs(number) > 1e-37 else None)

    return step


def predicates_to_register(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Gather the predicates of a mask in a word; what goes into a byte of another word, nobody follows."""
    if flags or instruction.operands[2] != "RZ":
        return unknown(machine, instruction, flags)
    mask, write = int(instruction.operands[3], 16), machine.setter(instruction.operands[0])
    file = machine.files["P"]

    def step() -> None:
        bits = [file[at] for at in range(7) if mask >> at & 1]
        write(None if None in bits else sum((file[at] or 0) << at for at in range(7) if mask >> at & 1))

    return step


def register_to_predicates(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Spread bits over predicates."""
    read, mask = machine.get(instruction.operands[1]), int(instruction.operands[2], 16)
    file = machine.files["P"]

    def step() -> None:
        value = read()
        for at in range(7):
            if mask >> at & 1:
                file[at] = None if value is None else value >> at & 1

    return step


def arrived(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Find every asynchronous copy there when a loop asks for it; the wait is a latency, not a count."""
    setters = [machine.setter(operand) for operand in instruction.operands if is_predicate(operand)]

    def step() -> None:
        for setter in setters:
            setter(1)

    return step
