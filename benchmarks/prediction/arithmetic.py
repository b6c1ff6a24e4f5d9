# SPDX-License-Identifier: Apache-2.0
"""Integers, logic, comparison and choice."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.prediction.machine import MASK, Machine, Value, is_predicate, signed
from benchmarks.prediction.sass import Instruction
from benchmarks.prediction.steps import Step, outputs


def iadd3(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Add up to three numbers, with carries out and, for ``.X``, in."""
    (result, *carries), rest = outputs(machine, instruction.operands)
    read = [machine.get(operand) for operand in rest if not is_predicate(operand)]
    carried = [machine.predicate(operand) for operand in rest if is_predicate(operand)] if "X" in flags else []

    def step() -> None:
        values = [get() for get in read] + [get() for get in carried]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            result(None)
            for carry in carries:
                carry(None)
            return
        total = sum(known) + sum(
            1 << 32 for operand, get in zip(rest, read, strict=False) if operand[0] == "-" and get() == 0
        )
        result(total & MASK)
        for at, carry in enumerate(carries):
            carry(int(total >> 32 > at))

    return step


def imad(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Multiply and add; ``.WIDE`` and ``.HI`` add two words, and give both or the high one."""
    wide_result = "WIDE" in flags
    (result, *carries), rest = outputs(machine, instruction.operands, 2 if wide_result else 1)
    if "MOV" in flags:
        moved = machine.get(rest[-1])
        return lambda: result(moved())
    a, b = machine.get(rest[0]), machine.get(rest[1])
    c = machine.get(rest[2], 8 if wide_result or "HI" in flags else 4)
    carried = machine.predicate(rest[3]) if "X" in flags and len(rest) > 3 else (lambda: 0)
    is_signed = "U32" not in flags

    def step() -> None:
        x, y, z, more = a(), b(), c(), carried()
        for carry in carries:
            carry(None)
        if x == 0 or y == 0:
            x = y = 0
        if x is None or y is None or z is None or more is None:
            result(None)
            return
        product = signed(x) * signed(y) if is_signed else x * y
        total = product + z + more
        result((total >> 32 if "HI" in flags else total) & (MASK << 32 | MASK if wide_result else MASK))

    return step


def lea(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Shift and add; ``.HI`` takes the bits that the shift pushes out."""
    (result, *carries), rest = outputs(machine, instruction.operands)
    numbers = [operand for operand in rest if not is_predicate(operand)]
    carried = [machine.predicate(operand) for operand in rest if is_predicate(operand)] if "X" in flags else []
    a, b = machine.get(numbers[0]), machine.get(numbers[1])
    high = machine.get(numbers[2]) if "HI" in flags and len(numbers) > 3 else (lambda: 0)
    shift = machine.get(numbers[-1]) if len(numbers) > 2 else (lambda: 0)

    def step() -> None:
        x, y, top, by = a(), b(), high(), shift()
        more = [get() for get in carried]
        if x is None or y is None or top is None or by is None or None in more:
            result(None)
            for carry in carries:
                carry(None)
            return
        if "HI" in flags:
            full = signed(x) if "SX32" in flags else top << 32 | x
            total = (full >> (32 - by) & MASK) + y
        else:
            total = (x << by & MASK) + y
        total += sum(value or 0 for value in more)
        result(total & MASK)
        for carry in carries:
            carry(int(total >> 32 > 0))

    return step


def lop3(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Combine three words bit by bit, by a truth table."""
    operands = list(instruction.operands)
    truth = machine.setter(operands.pop(0)) if is_predicate(operands[0]) else (lambda value: None)
    result = machine.setter(operands[0])
    a, b, c = (machine.get(operand) for operand in operands[1:4])
    table = int(operands[4], 16)

    def step() -> None:
        x, y, z = a(), b(), c()
        if table == 0xC0 and 0 in (x, y):  # a & b: a zero decides
            x = y = 0
        if table in (0xC0, 0xFC, 0x3C, 0x30, 0x0C):
            z = 0
        if x is None or y is None or z is None:
            result(None)
            truth(None)
            return
        value = 0
        for bit in range(8):
            if table >> bit & 1:
                value |= (x if bit & 4 else ~x) & (y if bit & 2 else ~y) & (z if bit & 1 else ~z)
        value &= MASK
        result(value)
        truth(int(value != 0))

    return step


def shf(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Shift two words joined, and give one."""
    result = machine.setter(instruction.operands[0])
    low, by, high = (machine.get(operand) for operand in instruction.operands[1:4])
    words = 64 if flags & {"U64", "S64"} else 32
    # Which of the three inputs the result depends on.
    needs_low = not ("R" in flags and "HI" in flags)

    def step() -> None:
        x, s, top = low(), by(), high()
        if not needs_low:
            x = 0
        elif "L" in flags and "HI" not in flags:
            top = 0
        if x is None or s is None or top is None:
            result(None)
            return
        s = s % words if "W" in flags else min(s, words)
        value = top << 32 | x
        if flags & {"S32", "S64"}:
            value = signed(value, 64)
        value = value << s if "L" in flags else value >> s
        result((value >> 32 if "HI" in flags else value) & MASK)

    return step


_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "LT": lambda x, y: x < y,
    "LE": lambda x, y: x <= y,
    "GT": lambda x, y: x > y,
    "GE": lambda x, y: x >= y,
    "EQ": lambda x, y: x == y,
    "NE": lambda x, y: x != y,
}


def isetp(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Compare, and join the outcome with another predicate; ``.EX`` compares high words."""
    first, second = machine.setter(instruction.operands[0]), machine.setter(instruction.operands[1])
    a, b = machine.get(instruction.operands[2]), machine.get(instruction.operands[3])
    given = machine.predicate(instruction.operands[4])
    below = machine.predicate(instruction.operands[5]) if "EX" in flags else None
    compare = next((_COMPARE[name] for name in _COMPARE if name in flags), None)
    is_signed = "U32" not in flags

    def step() -> None:
        x, y, also = a(), b(), given()
        outcome: Value = None
        if x is not None and y is not None and compare is not None:
            left, right = (signed(x), signed(y)) if is_signed else (x, y)
            outcome = below() if below is not None and x == y else int(compare(left, right))
            if "NE" in flags:
                order = (signed(x) > signed(y)) - (signed(x) < signed(y))
                if not machine.trying:
                    machine.larger[instruction.address] = order
                elif order != machine.larger.get(instruction.address, order):
                    outcome = 0
        first(_join(flags, outcome, also))
        second(_join(flags, None if outcome is None else 1 - outcome, also))

    return step


def _join(flags: set[str], x: Value, y: Value) -> Value:
    if "AND" in flags:
        return 0 if x == 0 or y == 0 else None if x is None or y is None else 1
    if "OR" in flags:
        return 1 if x == 1 or y == 1 else None if x is None or y is None else 0
    return None if x is None or y is None else x ^ y


def sel(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Choose one of two by a predicate."""
    result = machine.setter(instruction.operands[0])
    a, b = machine.get(instruction.operands[1]), machine.get(instruction.operands[2])
    choice = machine.predicate(instruction.operands[3])

    def step() -> None:
        chosen = choice()
        x, y = a(), b()
        result(x if chosen == 1 or x == y else None if chosen is None else y)

    return step


def imnmx(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Give the smaller of two where the predicate holds, else the larger."""
    result = machine.setter(instruction.operands[0])
    a, b = machine.get(instruction.operands[1]), machine.get(instruction.operands[2])
    smaller = machine.predicate(instruction.operands[3])

    def step() -> None:
        x, y, less = a(), b(), smaller()
        if x is None or y is None or less is None:
            result(None)
            return
        key = (lambda v: v) if "U32" in flags else signed
        result((min if less else max)(x, y, key=key))

    return step


def prmt(flags: set[str], a: int, selector: int, c: int) -> int:
    """Put four of eight bytes together."""
    source = (c << 32 | a).to_bytes(8, "little")
    value = 0
    for at in range(4):
        nibble = selector >> 4 * at & 15
        byte = source[nibble & 7]
        value |= (0xFF if byte >> 7 else 0) << 8 * at if nibble & 8 else byte << 8 * at
    return value


def plop3(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Combine three predicates by a truth table."""
    first, second = machine.setter(instruction.operands[0]), machine.setter(instruction.operands[1])
    read = [machine.predicate(operand) for operand in instruction.operands[2:5]]
    tables = [int(operand, 16) for operand in instruction.operands[5:7]]

    def step() -> None:
        values = [get() for get in read]
        for setter, table in zip((first, second), tables, strict=False):
            possible = [
                table >> (x << 2 | y << 1 | z) & 1
                for x in ((0, 1) if values[0] is None else (values[0],))
                for y in ((0, 1) if values[1] is None else (values[1],))
                for z in ((0, 1) if values[2] is None else (values[2],))
            ]
            setter(possible[0] if len(set(possible)) == 1 else None)

    return step
