# SPDX-License-Identifier: Apache-2.0
"""All targets in one table; what was predicted of the same sources before is kept under build/ledger.

A prediction depends on files alone: compilers, kernels, launchers, cases, the ledger itself. Their digest is in the
name of what is kept, so a second call answers at once, and a change of any of them predicts anew.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from asl_fast.files import read_json, write_json
from benchmarks.prediction.targets import targets_of
from benchmarks.registry import Case

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "ledger"
SOURCES = (
    "kernels",
    "csrc",
    *(f"asl_fast/{room}" for room in ("ops", "reference", "losses", "layers", "models")),
    *(f"benchmarks/{room}" for room in ("prediction", "ops", "jobs")),
)
Row = dict[str, Any]


@cache
def digest() -> str:
    """Return a digest of all files that a prediction depends on, and of the compilers' versions."""
    found = hashlib.sha256()
    for name in ("torch", "triton"):
        found.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".cu", ".cuh", ".cpp", ".h"):
                found.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def with_targets(cases: Mapping[str, Sequence[Case]]) -> dict[str, list[Case]]:
    """Return the cases that a target names, by op."""
    named = {op: [case for case in found if targets_of(op, case.name)] for op, found in cases.items()}
    return {op: found for op, found in named.items() if found}


def kept(op: str, case: str, arch: str, predict: Callable[[], Row]) -> Row:
    """Return what was predicted of these sources before, or predict and keep it."""
    name = hashlib.sha256(f"{digest()} {op} {case} {arch}".encode()).hexdigest()[:24]
    path = KEPT / f"{name}.json"
    if path.exists():
        row: Row = read_json(path)
        return row
    row = predict()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, row)
    return row


def table(rows: Sequence[Row]) -> str:
    """Return a line for each target of each case, and one for each kernel that spills."""
    lines = ["", f"{'predicted, nothing is measured':75} target"]
    for row in rows:
        name = f"{row['device']} {row['op']}: {row['case']}"[:75]
        total = f"{len(row['launches'])} launches, {1e6 * row['total_sec']:.1f} us with them; no target on this device"
        lines += [f"{name:75} {line.removeprefix('target ')}" for line in row["targets"] or [total]]
        lines += [
            f"{name:75} {launch['kernel']} SPILLS {launch['spilled_bytes']} bytes"
            for launch in row["launches"]
            if launch.get("spilled_bytes")
        ]
    return "\n".join(lines)
