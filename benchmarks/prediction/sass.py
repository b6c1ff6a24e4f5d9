# SPDX-License-Identifier: Apache-2.0
"""Machine code of a kernel as ``cuobjdump -sass`` prints it: instructions, what executes them, and its loops.

The 128 bits beside each instruction also hold what the compiler tells the scheduler: for how many cycles the warp may
not issue again, which of six barriers a slow instruction sets when its result is there, and which ones it waits for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_FUNCTION = re.compile(r"^\s*Function : (\S+)")
_LINE = re.compile(r"^\s*/\*([0-9a-f]+)\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;\s*/\* 0x([0-9a-f]{16}) \*/")
_SECOND = re.compile(r"^\s*/\* 0x([0-9a-f]{16}) \*/")
NO_BARRIER = 7


class Instruction(NamedTuple):
    """One instruction.

    Attributes:
        address: In bytes from the kernel's start.
        guard: Predicate without which it does nothing, with ``!`` where negated; empty for none.
        opcode: With all modifiers, ``IMAD.WIDE.U32``.
        operands: As printed.
        stall: Cycles until the warp may issue the next one.
        sets: Barrier that its result releases, and ``reads`` the one that its operands do when they were read; 7: none.
        reads: As above.
        waits: Bit mask of the barriers it waits for.
    """

    address: int
    guard: str
    opcode: str
    operands: tuple[str, ...]
    stall: int
    sets: int
    reads: int
    waits: int

    @property
    def base(self) -> str:
        """Return the opcode without modifiers."""
        return self.opcode.partition(".")[0]

    @property
    def target(self) -> int | None:
        """Return where a direct branch goes."""
        if self.base not in ("BRA", "CALL", "BSSY") or not self.operands:
            return None
        last = self.operands[-1]
        return int(last, 16) if re.fullmatch(r"0x[0-9a-f]+", last) else None


class Loop(NamedTuple):
    """A loop of machine code: from the target of a backward branch to the branch, both in it, by index."""

    first: int
    last: int

    def holds(self, other: Loop) -> bool:
        """Tell whether another loop lies inside."""
        return self != other and self.first <= other.first and other.last <= self.last


def parse(listing: str) -> dict[str, list[Instruction]]:
    """Read every kernel of a listing, by its name."""
    found: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    pending: re.Match[str] | None = None
    for line in listing.splitlines():
        if function := _FUNCTION.match(line):
            current = found[function[1]] = []
        elif first := _LINE.match(line):
            pending = first
        elif pending is not None and (second := _SECOND.match(line)):
            control = int(second[1], 16) >> 41
            current.append(
                Instruction(
                    address=int(pending[1], 16),
                    guard=pending[2] or "",
                    opcode=pending[3],
                    operands=tuple(_split(pending[4])),
                    stall=control & 15,
                    sets=control >> 5 & 7,
                    reads=control >> 8 & 7,
                    waits=control >> 11 & 63,
                )
            )
            pending = None
    return {name: _without_padding(code) for name, code in found.items()}


def _split(text: str) -> list[str]:
    """Split operands at commas; none of their brackets holds one."""
    return [part.strip().replace(".reuse", "") for part in text.split(",") if part.strip()]


def _without_padding(code: list[Instruction]) -> list[Instruction]:
    """Leave out the branch to itself after the last EXIT, and the NOPs that fill the section."""
    end = len(code)
    while end and (code[end - 1].base == "NOP" or code[end - 1].target == code[end - 1].address):
        end -= 1
    return code[:end]


def loops(code: Sequence[Instruction]) -> list[Loop]:
    """Find all loops, by their first instruction; branches back to one place are one loop."""
    index = {instruction.address: at for at, instruction in enumerate(code)}
    ends: dict[int, int] = {}
    for at, instruction in enumerate(code):
        target = instruction.target if instruction.base == "BRA" else None
        if target is not None and target <= instruction.address and target in index:
            ends[index[target]] = max(ends.get(index[target], 0), at)
    return [Loop(first, last) for first, last in sorted(ends.items())]


def innermost(found: Sequence[Loop]) -> list[Loop]:
    """Keep the loops that hold no other."""
    return [loop for loop in found if not any(loop.holds(other) for other in found)]
