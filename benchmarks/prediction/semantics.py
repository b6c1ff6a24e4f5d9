# SPDX-License-Identifier: Apache-2.0
"""What the integer instructions of NVIDIA's machine code do, as far as a branch can depend on it.

Their meaning is not documented by NVIDIA; it was read off compiled code whose source is known, and the tests run such
code. Whatever is not listed here makes its result unknown, which is always safe.
"""

from __future__ import annotations

from benchmarks.prediction.arithmetic import iadd3, imad, imnmx, isetp, lea, lop3, plop3, prmt, sel, shf
from benchmarks.prediction.machine import MASK, Machine, signed
from benchmarks.prediction.movement import (
    arrived,
    atomic,
    constant_bank,
    halves,
    load_global,
    load_shared,
    predicates_to_register,
    register_to_predicates,
    shuffle,
    special_function,
    special_register,
    store_shared,
    to_float,
    to_integer,
    vote,
)
from benchmarks.prediction.sass import Instruction
from benchmarks.prediction.steps import Builder, Step, all_of, first_of, last_of, simple, unknown


def build(machine: Machine, instruction: Instruction) -> Step:
    """Return a function that executes the instruction, whatever its guard, on the machine."""
    base = instruction.base
    uniform = base[1:] if base.startswith("U") else ""
    builder = _BUILDERS.get(base) or _BUILDERS.get(uniform, unknown)
    try:
        return builder(machine, instruction, set(instruction.opcode.split(".")[1:]))
    except (IndexError, ValueError):  # a form that was not met before
        return unknown(machine, instruction, set())


def forget(machine: Machine, instruction: Instruction) -> Step:
    """Return a function that makes the results unknown: what a guard leaves open does."""
    return unknown(machine, instruction, set(instruction.opcode.split(".")[1:]))


_BUILDERS: dict[str, Builder] = {
    "IADD3": iadd3,
    "VIADD": iadd3,
    "IADD": iadd3,
    "IMAD": imad,
    "LEA": lea,
    "LOP3": lop3,
    "SHF": shf,
    "ISETP": isetp,
    "SEL": sel,
    "FSEL": sel,
    "IMNMX": imnmx,
    "VIMNMX": imnmx,
    "PLOP3": plop3,
    "S2R": special_register,
    "S2UR": special_register,
    "CS2R": special_register,
    "LDC": constant_bank,
    "ULDC": constant_bank,
    "LDG": load_global,
    "LDS": load_shared,
    "STS": store_shared,
    "ATOM": atomic,
    "ATOMG": atomic,
    "ATOMS": atomic,
    "SHFL": shuffle,
    "VOTE": vote,
    "VOTEU": vote,
    "HFMA2": halves,
    "MUFU": special_function,
    "R2P": register_to_predicates,
    "P2R": predicates_to_register,
    "SYNCS": arrived,
    "MOV": simple(1, first_of, lambda flags, x: x),
    "R2UR": simple(1, last_of, lambda flags, x: x),
    "IABS": simple(1, first_of, lambda flags, x: abs(signed(x))),
    "POPC": simple(1, first_of, lambda flags, x: x.bit_count()),
    "FLO": simple(1, last_of, lambda flags, x: (x.bit_length() - 1) & MASK),
    "BREV": simple(1, first_of, lambda flags, x: int(f"{x:032b}"[::-1], 2)),
    "PRMT": simple(1, all_of, prmt),
    "I2F": simple(1, first_of, to_float),
    "I2FP": simple(1, first_of, to_float),
    "F2I": simple(1, first_of, to_integer),
}
