# SPDX-License-Identifier: Apache-2.0
"""How one instruction becomes a function that executes it; whatever is not understood makes its results unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.prediction.machine import Get, Machine, Value, is_predicate
from benchmarks.prediction.sass import Instruction

Step = Callable[[], None]
Builder = Callable[[Machine, Instruction, set[str]], Step]
_NO_RESULT = ("ST", "STG", "STS", "RED", "BAR", "BRA", "EXIT", "NOP", "BSSY", "BSYNC", "WARPSYNC", "STL", "CALL", "RET")


def words_of(flags: set[str]) -> int:
    """Return how many words an instruction moves."""
    return 4 if "128" in flags else 2 if flags & {"64", "WIDE"} else 1


def unknown(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
    """Make all results unknown."""
    if instruction.base in _NO_RESULT:
        return lambda: None
    double = instruction.base in ("DADD", "DMUL", "DFMA", "CS2R")
    setters = []
    for operand in instruction.operands:
        setters.append(machine.setter(operand, 2 if double else words_of(flags)))
        if not is_predicate(operand):
            break

    def step() -> None:
        for setter in setters:
            setter(None)

    return step


def outputs(
    machine: Machine, operands: Sequence[str], words: int = 1
) -> tuple[list[Callable[[Value], None]], list[str]]:
    """Take the result and the predicates that follow it off the operands."""
    taken = 1
    while taken < len(operands) and is_predicate(operands[taken]):
        taken += 1
    return [machine.setter(operand, words if at == 0 else 1) for at, operand in enumerate(operands[:taken])], list(
        operands[taken:]
    )


def simple(
    words: int, sources: Callable[[Machine, list[str], set[str]], Sequence[Get]], compute: Callable[..., int]
) -> Builder:
    """Build an instruction whose one result is a function of values that must all be known."""

    def builder(machine: Machine, instruction: Instruction, flags: set[str]) -> Step:
        result = machine.setter(instruction.operands[0], words)
        read = sources(machine, list(instruction.operands[1:]), flags)

        def step() -> None:
            values = [get() for get in read]
            result(None if None in values else compute(flags, *values))

        return step

    return builder


def all_of(machine: Machine, operands: list[str], flags: set[str]) -> list[Get]:
    """Read every operand."""
    return [machine.get(operand) for operand in operands]


def last_of(machine: Machine, operands: list[str], flags: set[str]) -> list[Get]:
    """Read the last operand."""
    return [machine.get(operands[-1])]


def first_of(machine: Machine, operands: list[str], flags: set[str]) -> list[Get]:
    """Read the first operand."""
    return [machine.get(operands[0])]
