# SPDX-License-Identifier: Apache-2.0
"""One lane of a warp as far as control flow can depend on it: integers and predicates, known or not.

None stands for a value that nobody knows: what other kernels compute, what other lanes hold, and nearly every float.
"""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

Value = int | None
Get = Callable[[], Value]
MASK = 0xFFFF_FFFF

_REGISTER = re.compile(r"([-~|]*)(U?R)(\d+|Z)\|?(?:\.\w+)*$")
_CONSTANT = re.compile(r"([-~|]*)c\[0x([0-9a-f]+)\]\[(?:(U?R\d+)\+?)?(?:0x([0-9a-f]+))?\]\|?")
_MEMORY = re.compile(r"(?:desc\[UR\d+\])?\[(U?R(?:\d+|Z))?[\w.]*(?:\+(UR\d+)[\w.]*)?(?:\+?(-?0x[0-9a-f]+))?\]")
_PREDICATE = re.compile(r"(!?)(U?P)([0-6T])$")


class Region(NamedTuple):
    """Attributes: memory that may be read, because something wrote it: ``address`` and ``bytes``."""

    address: int
    bytes: int


class Place(NamedTuple):
    """Attributes: which lane this is: ``block`` and ``thread`` index, sizes of the ``grid`` and of a ``threads`` block.

    ``parameters`` are the bytes of the kernel's arguments, from ``first_parameter`` of constant bank 0 on; ``atomic``
    is what an atomic operation on global memory returns, None for a number that nobody knows.
    """

    block: tuple[int, int, int]
    thread: int
    grid: tuple[int, int, int]
    threads: int
    parameters: bytes
    first_parameter: int
    memory: tuple[Region, ...] = ()
    atomic: Value = 0


class Machine:
    """Registers and predicates of one lane, and the words of shared memory that are known."""

    def __init__(self, place: Place, shared: dict[int, Value]) -> None:
        self.place, self.shared = place, shared
        self.files: dict[str, list[Value]] = {"R": [None] * 256, "UR": [None] * 256, "P": [None] * 8, "UP": [None] * 8}
        self.files["R"][255] = self.files["UR"][255] = 0
        self.files["P"][7] = self.files["UP"][7] = 1
        self.bank = self._bank()
        # A loop that ends when two numbers meet is over once they have passed each other, as a try of many rounds finds
        # them: which of the two was larger when each comparison was last made, by its address.
        self.trying = False
        self.larger: dict[int, int] = {}

    def _bank(self) -> bytes:
        place = self.place
        start = struct.pack("<6I", place.threads, 1, 1, *place.grid).ljust(place.first_parameter, b"\0")
        return start + place.parameters.ljust(4096, b"\0")

    def snapshot(self) -> Mapping[str, list[Value]]:
        """Copy all registers and predicates."""
        return {name: list(values) for name, values in self.files.items()}

    def restore(self, saved: Mapping[str, list[Value]]) -> None:
        """Take up a copy again."""
        for name, values in saved.items():
            self.files[name][:] = values

    def constant(self, offset: Value, size: int) -> Value:
        """Read constant bank 0."""
        if offset is None or offset < 0 or offset + size > len(self.bank):
            return None
        return int.from_bytes(self.bank[offset : offset + size], "little")

    def load(self, address: Value, size: int) -> Value:
        """Read global memory where something is known to have written it."""
        if address is None:
            return None
        if any(
            region.address <= address and address + size <= region.address + region.bytes
            for region in self.place.memory
        ):
            return int.from_bytes(ctypes.string_at(address, size), "little")
        return None

    # Operands, read once when the code is prepared ------------------------------------------------------------------

    def get(self, operand: str, size: int = 4) -> Get:
        """Return a function that reads an operand of 4 or 8 bytes."""
        if found := _REGISTER.match(operand):
            file, at = self.files[found[2]], 255 if found[3] == "Z" else int(found[3])
            if size == 8:
                return _signed(found[1], lambda: 0 if at == 255 else wide(file[at], file[at + 1]), size)
            return _signed(found[1], lambda: file[at], size) if found[1] else (lambda: file[at])
        if found := _CONSTANT.match(operand):
            offset = int(found[4] or "0", 16)
            if found[2] not in ("0",):
                return lambda: None
            if found[3]:
                index = self.get(found[3])
                return _signed(found[1], lambda: self.constant(add(index(), offset), size), size)
            value = self.constant(offset, size)
            return _signed(found[1], lambda: value, size)
        if found := _PREDICATE.match(operand):
            return self.predicate(operand)
        number = immediate(operand)
        value = None if number is None else number & ((1 << 8 * size) - 1)
        return lambda: value

    def predicate(self, operand: str) -> Get:
        """Return a function that reads a predicate: 1, 0 or None."""
        found = _PREDICATE.match(operand)
        if found is None:
            return lambda: None
        file, at = self.files[found[2]], 7 if found[3] == "T" else int(found[3])
        if not found[1]:
            return lambda: file[at]

        def negated() -> Value:
            value = file[at]
            return None if value is None else 1 - value

        return negated

    def address(self, operand: str, *, wide_base: bool) -> Get:
        """Return a function that gives the address ``[R2.64+0x8]`` names."""
        found = _MEMORY.match(operand)
        if found is None:
            return lambda: None
        parts = [self.get(found[1], 8 if wide_base else 4)] if found[1] else []
        if found[2]:
            parts.append(self.get(found[2]))
        offset = int(found[3], 16) if found[3] else 0

        def at() -> Value:
            total = offset
            for part in parts:
                value = part()
                if value is None:
                    return None
                total += value
            return total

        return at

    def setter(self, operand: str, words: int = 1) -> Callable[[Value], None]:
        """Return a function that writes a register, a pair or more, or a predicate."""
        if found := _PREDICATE.match(operand):
            file, at = self.files[found[2]], 7 if found[3] == "T" else int(found[3])
            if at == 7:
                return lambda value: None

            def set_one(value: Value) -> None:
                file[at] = value

            return set_one
        found = _REGISTER.match(operand)
        if found is None or found[3] == "Z":
            return lambda value: None
        file, at = self.files[found[2]], int(found[3])

        def set_words(value: Value) -> None:
            for word in range(words):
                file[at + word] = None if value is None else value >> 32 * word & MASK

        return set_words


def wide(low: Value, high: Value) -> Value:
    """Join two words."""
    return None if low is None or high is None else low | high << 32


def add(value: Value, more: int) -> Value:
    """Add where known."""
    return None if value is None else value + more


def signed(value: int, bits: int = 32) -> int:
    """Read bits as a number in two's complement."""
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def immediate(text: str) -> Value:
    """Read a number: an integer, or the bits of a float32; None for anything else."""
    try:
        return int(text, 16)
    except ValueError:
        pass
    special = {"+INF": 0x7F800000, "-INF": 0xFF800000, "+QNAN": 0x7FFFFFFF, "INF": 0x7F800000, "QNAN": 0x7FFFFFFF}
    if text in special:
        return special[text]
    try:
        return int(struct.unpack("<I", struct.pack("<f", float(text)))[0])
    except (ValueError, OverflowError, struct.error):
        return None


def is_predicate(operand: str) -> bool:
    """Tell whether an operand is a predicate."""
    return _PREDICATE.match(operand) is not None


def _signed(sign: str, read: Get, size: int) -> Get:
    if not sign:
        return read
    full = (1 << 8 * size) - 1

    def value() -> Value:
        found = read()
        if found is None or "|" in sign:
            return None
        return -found & full if "-" in sign else ~found & full

    return value
