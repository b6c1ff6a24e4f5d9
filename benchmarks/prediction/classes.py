# SPDX-License-Identifier: Apache-2.0
"""Which unit of a multiprocessor executes an instruction, and for how many cycles it is taken.

Cycles are those of one of the four sub-partitions for one warp, from the table of arithmetic throughput in NVIDIA's
CUDA C++ programming guide: 128 lanes a multiprocessor are 32 a sub-partition, one cycle; 64 are two; 16 are eight.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.prediction.sass import Instruction

_FAMILIES = {
    "FFMA": ("FFMA", "FADD", "FMUL", "FFMA32I", "FADD32I", "FMUL32I"),
    "HFMA": ("HFMA2", "HADD2", "HMUL2", "HFMA2.MMA"),
    "DFMA": ("DFMA", "DADD", "DMUL", "DSETP"),
    "IMAD": ("IMAD", "UIMAD", "IMUL"),
    "HGMMA": ("HGMMA", "IGMMA", "QGMMA", "DGMMA"),
    "HMMA": ("HMMA", "IMMA", "DMMA", "BMMA"),
    "MUFU": ("MUFU",),
    "convert": ("I2F", "F2I", "F2F", "I2I", "FRND", "I2FP", "POPC", "FLO", "BREV"),
    "LDG": ("LDG", "LD"),
    "STG": ("STG", "ST"),
    "LDS": ("LDS", "LDSM"),
    "STS": ("STS", "STSM"),
    "LDGSTS": ("LDGSTS", "UBLKCP", "UTMALDG", "UTMASTG", "UTMAPF"),
    "LDL": ("LDL", "STL"),
    "ATOM": ("ATOM", "ATOMG", "ATOMS", "RED", "REDG", "MEMBAR", "ERRBAR", "CCTL"),
    "SHFL": ("SHFL", "VOTE", "VOTEU", "MATCH", "REDUX", "CREDUX"),
    "BAR": ("BAR", "SYNCS", "WARPSYNC", "DEPBAR", "WARPGROUP", "FENCE", "UCGABAR_ARV", "UCGABAR_WAIT", "LDGDEPBAR"),
    "branch": ("BRA", "EXIT", "BSSY", "BSYNC", "CALL", "RET", "BRX", "BREAK", "JMP", "YIELD", "NANOSLEEP", "BMOV"),
    "constant": ("LDC", "ULDC", "S2R", "S2UR", "CS2R"),
}
_FAMILY_OF = {opcode: family for family, opcodes in _FAMILIES.items() for opcode in opcodes}


def family(instruction: Instruction) -> str:
    """Return the class of an instruction; ``int`` is the rest: integers, logic, comparison, choice, moves."""
    return _FAMILY_OF.get(instruction.base, "int")


# Unit -> cycles of a warp's instruction in it, by class; one that is not listed costs its issue slot only.
UNITS = {
    "FFMA": {"FFMA": 1, "IMAD": 2, "HFMA": 1},
    "ALU": {"int": 2},
    "MUFU": {"MUFU": 8, "convert": 8},
    "FP64": {"DFMA": 2},
    "LSU": {name: 4 for name in ("LDG", "STG", "LDS", "STS", "LDL", "ATOM", "SHFL")},
}
_WIDTH = re.compile(r"\.(64|128)\b")


def cycles(instruction: Instruction) -> dict[str, float]:
    """Return the cycles that each unit is taken; wide loads and stores move 128 bytes a cycle and multiprocessor.

    Of loads from shared memory nobody counts how many lanes share an address, nor the conflicts of banks: they count as
    one pass each, the least there can be.
    """
    kind = family(instruction)
    found: dict[str, float] = {unit: costs[kind] for unit, costs in UNITS.items() if kind in costs}
    if instruction.base.startswith("U") or instruction.opcode.endswith(".MMA"):
        found.pop("ALU", None)  # the unit for values that are the same in the whole warp, and the tensor cores' adder
    width = _WIDTH.search(instruction.opcode)
    if "LSU" in found and width and kind not in ("SHFL", "LDS"):
        found["LSU"] *= int(width[1]) / 32
    return found


_PRODUCT = re.compile(r"^(HGMMA|HMMA|DMMA|IMMA)\.(\d+x\d+x\d+|\d+)")
_SMALL = {"16816": (16, 8, 16), "1688": (16, 8, 8), "884": (8, 8, 4), "1684": (16, 8, 4), "16832": (16, 8, 32)}


class Product(NamedTuple):
    """Attributes: ``flops`` of one warp's part of a tensor-core product, and the ``rate`` that applies."""

    flops: float
    rate: str


def product(instruction: Instruction) -> Product | None:
    """Return what a tensor-core instruction computes; None for any other.

    A product of a warp group is issued by each of its four warps, which count a quarter each.
    """
    found = _PRODUCT.match(instruction.opcode)
    if found is None:
        return None
    if "x" in found[2]:
        m, n, k = map(int, found[2].split("x"))
        share = 0.25
    else:
        m, n, k = _SMALL.get(found[2], (0, 0, 0))
        share = 1.0
    rate = "fp64" if found[1] == "DMMA" else "tf32" if "TF32" in instruction.opcode else "half"
    return Product(2.0 * m * n * k * share, rate)


def split(code: Sequence[Instruction]) -> Counter[str]:
    """Count instructions by class, most frequent first."""
    return Counter(dict(Counter(map(family, code)).most_common()))
