# SPDX-License-Identifier: Apache-2.0
"""``python benchmarks/ledger.py``: what the kernels of every benchmark case would take on a GPU, predicted without one.

Every launch of a case is noted, compiled for the target, and counted from its machine code: registers, spills, shared
memory, blocks per multiprocessor, waves, bytes, instructions, and a time that is predicted from them, never measured.
``--targets`` sets what each of the targets asks for beside what is predicted: met, open or missed.
``--measured FILE`` sets what ``benchmarks/run.py --device cuda --json FILE`` measured beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

if __package__ in (None, ""):  # started as a file: the checkout, not its folder benchmarks, holds the modules
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    os.environ["TRITON_INTERPRET"] = "0"  # kernels are compiled here, and the variable counts when they are imported

os.environ.setdefault("TRITON_DISABLE_LINE_INFO", "1")  # nobody reads which line an instruction came from

from asl_fast.files import write_json
from asl_fast.wording import closest
from benchmarks import record
from benchmarks.prediction.binaries import cuobjdump
from benchmarks.prediction.devices import DEVICES
from benchmarks.prediction.recording import declared
from benchmarks.prediction.rows import Row, case_rows
from benchmarks.prediction.text import assumptions, case_text, summary
from benchmarks.prediction.verdicts import kept, table, with_targets
from benchmarks.registry import Case, discover

# Jobs that launch kernels of the project and little else.
WITHOUT = ("evaluation", "loader", "training_step", "inference")


def main(arguments: Sequence[str]) -> int:
    """Predict and print; return the exit status: 0, 1 where a case failed, 2 for what cannot be carried out."""
    found = {name: cases for name, cases in discover().items() if name not in WITHOUT}
    request = _parser(list(found)).parse_args(arguments)
    for name in request.op or ():
        if name not in found:
            near = closest(name, list(found))
            hint = f"did you mean {near}? " if near is not None else ""
            print(f"benchmarks/ledger.py: no op {name!r}; {hint}There are {', '.join(found)}", file=sys.stderr)
            return 2
    unknown = [name for name in request.target.split(",") if name not in DEVICES]
    if unknown:
        print(f"benchmarks/ledger.py: no target {unknown[0]!r}; there are {', '.join(DEVICES)}", file=sys.stderr)
        return 2
    if cuobjdump() is None:
        print("benchmarks/ledger.py: cuobjdump is neither in Triton's wheel nor on the path", file=sys.stderr)
        return 2
    order = tuple(name for name in request.implementation.split(",") if name)
    chosen = {name: _selected(declared(found[name]), request) for name in request.op or found}
    if request.targets:
        chosen = with_targets(chosen)
    if not any(chosen.values()):
        print("benchmarks/ledger.py: no case is left; --list shows their names", file=sys.stderr)
        return 2
    if request.list:
        print("\n".join(f"{op}: {case.name}" for op, cases in chosen.items() for case in cases))
        return 0
    measured = _measured(request.measured) if request.measured else {}
    rows: list[Row] = []
    failed: list[str] = []
    for target in request.target.split(","):
        print(assumptions(DEVICES[target]))
        for op, cases in chosen.items():
            for case in cases:
                predict = partial(case_rows, op, case, DEVICES[target], order)
                try:
                    row = kept(op, case.name, target, predict) if request.targets and not order else predict()
                except Exception as error:  # compilers raise anything, and the table goes on
                    failed.append(f"{op}: {case.name} ({target}): {type(error).__name__}: {error}")
                    print(f"\nNOT PREDICTED {failed[-1]}", flush=True)
                    continue
                if (op, case.name) in measured:
                    row["measured_sec"] = measured[op, case.name]
                    row["measured_ratio"] = measured[op, case.name] / row["kernel_sec"]
                rows.append(row)
                print(case_text(row, loops=not request.short), flush=True)
    print(summary(rows))
    if request.targets:
        print(table(rows))
    print("".join(f"\nNOT PREDICTED {line}" for line in failed), end="")
    if request.json:
        write_json(request.json, {"predicted": True, "commit": record.commit(), "rows": rows, "failed": failed})
    return 1 if failed else 0


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python benchmarks/ledger.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--op", action="append", metavar="NAME", help=f"only this one, repeatable: {', '.join(names)}")
    parser.add_argument("--case", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument("--target", default="sm_90", help=f"of {', '.join(DEVICES)}, separated by commas (sm_90)")
    parser.add_argument(
        "--implementation", default="", metavar="NAME", help="triton or cuda before what the dispatch table prefers"
    )
    parser.add_argument("--short", action="store_true", help="leave the loops out")
    parser.add_argument(
        "--targets", action="store_true", help="only cases with a target, and a table; unchanged sources answer at once"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE")
    parser.add_argument("--measured", type=Path, metavar="FILE", help="of benchmarks/run.py --device cuda --json FILE")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    return parser


def _selected(cases: Sequence[Case], request: argparse.Namespace) -> list[Case]:
    return [case for case in cases if (request.case in case.name if request.case else case.scale != "small")]


def _measured(path: Path) -> dict[tuple[str, str], float]:
    """Read the kernels' time of each (op, case) of a run on a GPU."""
    results = record.read(path)["results"]
    return {(one["op"], one["case"]): one["kernel_sec"] for one in results if "kernel_sec" in one}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
