# SPDX-License-Identifier: Apache-2.0
"""``python benchmarks/verify.py OLD.json NEW.json``: what became slower.

A time alone compares two moments of a machine. Each case was measured in turn with other ways to do the same work, so
what is compared is how many times longer those take: OLD says 5.0x eager, NEW says 4.0x, then the case takes 1.25 times
as long as it should. Of several baselines the median counts. A case without a baseline in both files is compared by its
time, after dividing by how the baselines of all other cases moved.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import record
from benchmarks.measuring import Record

Key = tuple[str, str]


class Change(NamedTuple):
    """One case in both files; ``factor`` is how many times as long it takes now, ``by`` what that was measured by."""

    key: Key
    factor: float
    by: str


def compare(old: Record, new: Record) -> list[Change]:
    """List the cases that both files have, worst first.

    Raises:
        ResultError: The files are of two devices, clocks or forced backends, or have no case in common.
    """
    for what in ("device", "clock", "forced_backend"):
        before, after = old.get(what), new.get(what)
        if before != after:
            raise record.ResultError(f"{what} {before!r} and {after!r} cannot be compared; measure both alike")
    results_before, results_after = (
        {(r["op"], r["case"], r["threads"]): r for r in content["results"] if "missing" not in r}
        for content in (old, new)
    )
    common = [key for key in results_before if key in results_after]
    if not common:
        raise record.ResultError("the files have no case in common; measure the same --op with as many threads")
    drift = _drift([(results_before[key], results_after[key]) for key in common])
    changes = [_change(key[:2], results_before[key], results_after[key], drift) for key in common]
    return sorted(changes, key=lambda change: -change.factor)


def _times(result: Record) -> dict[str, Record]:
    return {name: values for name, values in result["baselines"].items() if "missing" not in values}


def _change(key: Key, old: Record, new: Record, drift: float) -> Change:
    before, after = _times(old), _times(new)
    factors = [before[name]["ratio"] / after[name]["ratio"] for name in before if name in after]
    if factors:
        return Change(key, statistics.median(factors), ", ".join(name for name in before if name in after))
    return Change(key, new["median_sec"] / old["median_sec"] / drift, "time")


def _drift(pairs: Sequence[tuple[Record, Record]]) -> float:
    """Return how many times as long the baselines take in the new file; 1 where there is none."""
    moved = [
        _times(new)[name]["median_sec"] / values["median_sec"]
        for old, new in pairs
        for name, values in _times(old).items()
        if name in _times(new)
    ]
    return statistics.median(moved) if moved else 1.0


def main(arguments: Sequence[str]) -> int:
    """Print the comparison; return 0 where all is well, 1 for a regression, 2 for files that cannot be compared."""
    parser = argparse.ArgumentParser(prog="python benchmarks/verify.py", description=__doc__.partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--threshold", type=float, default=1.25, help="a case may take so many times as long (1.25)")
    options = parser.parse_args(arguments)
    if options.threshold < 1:
        parser.error(f"--threshold must be at least 1, got {options.threshold}")
    try:
        changes = compare(record.read(options.old), record.read(options.new))
    except record.ResultError as error:
        print(f"benchmarks/verify.py: {error}", file=sys.stderr)
        return 2
    slower = [change for change in changes if change.factor > options.threshold]
    for change in changes:
        mark = (
            "SLOWER" if change.factor > options.threshold else "faster" if change.factor < 1 / options.threshold else ""
        )
        print(f"{change.factor:6.2f}x  {mark:<6}  {': '.join(change.key)}  (by {change.by})")
    print(f"{len(changes)} cases, {len(slower)} take more than {options.threshold:g} times as long")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
