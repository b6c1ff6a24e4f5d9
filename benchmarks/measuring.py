# SPDX-License-Identifier: Apache-2.0
"""One case to one record of plain numbers: times, rates, memory, launches, and the baselines beside it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.compiling import CompileError, compiled
from benchmarks.flops import count_flops
from benchmarks.launches import count_launches
from benchmarks.limit import OutOfTime, time_limit
from benchmarks.memory import peak_bytes
from benchmarks.registry import Case
from benchmarks.roofline import Ceilings
from benchmarks.timing import Timing, measure, processors

Record = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        device: "cpu" or "cuda".
        seconds: Of each case, shared by all sides.
        min_rounds: Counted calls of each side at least.
        cpu_time: Processor time instead of time (CPU).
        check: Compare the results of all sides first.
        compile_seconds: To compile a baseline in; 0 leaves ``torch.compile`` out.
        memory: Measure the peak memory of each side.
        case_seconds: After which a case is given up; 0 is never.
        ceilings: Of this machine, for percentages; None leaves them out.
    """

    device: str = "cpu"
    seconds: float = 3.0
    min_rounds: int = 5
    cpu_time: bool = False
    check: bool = False
    compile_seconds: float = 0.0
    memory: bool = False
    case_seconds: float = 0.0
    ceilings: Ceilings | None = None


def measure_case(op: str, case: Case, options: Options) -> Record:
    """Measure a case.

    One that runs out of time gives a record of its name and a reason, ``missing``; one that fails, whether two sides do
    not compute the same (``options.check``), memory runs out or a kernel does not compile, has ``failed`` as well.
    """
    try:
        with time_limit(options.case_seconds) if options.case_seconds else nullcontext():
            return _measure(op, case, options)
    except OutOfTime:
        reason, failed = f"took more than {options.case_seconds:.3g} s", False
    except Exception as error:  # whatever ends one case must not end the table
        reason, failed = f"failed: {first_line(error)}", True
    if options.device == "cuda" and torch.cuda.is_available():
        torch.cuda.empty_cache()  # what a failed case held is free for the next
    record: Record = {"op": op, "case": case.name, "scale": case.scale, "missing": reason}
    return record | {"failed": True} if failed else record


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of what it says, at most 200 characters."""
    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    return f"{kind}{str(error).strip().partition(chr(10))[0]}"[:200]


def _measure(op: str, case: Case, options: Options) -> Record:
    with processors(case.threads):
        inputs = case.make_inputs()
        sides: dict[str, Callable[..., Any]] = {"run": case.run, **case.baselines}
        missing = {}
        if case.compiled in case.baselines:
            try:
                if not options.compile_seconds:
                    raise CompileError("torch.compile was left out")
                sides["compiled"] = compiled(case.baselines[case.compiled], inputs, options.compile_seconds)
            except CompileError as error:
                missing["compiled"] = str(error)
        if options.check:
            check(case, sides, inputs)
        flops = count_flops(lambda: case.run(*inputs)) if case.counts_flops else case.flops
        timings = measure(
            sides,
            inputs,
            device=options.device,
            seconds=options.seconds,
            min_rounds=options.min_rounds,
            cpu_time=options.cpu_time,
            prepare=case.prepare,
        )
        peaks = {name: _peak(side, inputs, timings[name], options) for name, side in sides.items()}
        launches = count_launches(lambda: case.run(*inputs)) if options.device == "cuda" else None
        threads = torch.get_num_threads()
    own = timings["run"]
    record: Record = {
        "op": op,
        "case": case.name,
        "scale": case.scale,
        "threads": threads,
        "compared": case.agree is not None,
        **_times(own),
        **_rates(case, flops, own, options.ceilings),
        **peaks["run"],
        "baselines": {
            name: {**_times(timings[name]), "ratio": timings[name].ratio, **peaks[name]}
            for name in sides
            if name != "run"
        }
        | {name: {"missing": reason} for name, reason in missing.items()},
    }
    if launches is None:
        return record
    return record | {"kernels": launches.kernels, "copies": launches.copies, "kernel_sec": launches.kernel_sec}


def check(case: Case, sides: dict[str, Callable[..., Any]], inputs: tuple[Any, ...]) -> None:
    """Raise AssertionError unless every side returns what ``run`` does; a side of other work has only to run."""

    def result(side: Callable[..., Any]) -> Any:
        if case.prepare is not None:
            case.prepare(*inputs)
        return side(*inputs)

    ours = result(case.run)
    for name, side in sides.items():
        if name == "run" or case.agree is None:
            continue
        try:
            case.agree(ours, result(side))
        except AssertionError as error:
            raise AssertionError(f"{case.name}: {name} computes something else: {error}") from None


def _times(timing: Timing) -> Record:
    values = asdict(timing)
    record: Record = {f"{key}_sec": values[key] for key in ("median", "low", "high")} | {"rounds": timing.rounds}
    if timing.host is not None:
        record |= {"host_sec": timing.host, "kernels_alone": timing.alone}
    return record


def _rates(case: Case, flops: int, own: Timing, ceilings: Ceilings | None) -> Record:
    rates: Record = {}
    if case.bytes_moved:
        rates["bytes_per_sec"] = case.bytes_moved / own.median
        if ceilings:
            rates["percent_of_copy"] = 100 * rates["bytes_per_sec"] / ceilings.copy_bytes
    if flops:
        rates |= {"flops": flops, "flops_per_sec": flops / own.median}
        if ceilings:
            rates["percent_of_best"] = 100 * rates["flops_per_sec"] / ceilings.best_flops
            if case.counts_flops:
                rates["times_floor"] = ceilings.matrix_flops * own.median / flops
                rates["times_best"] = ceilings.best_flops * own.median / flops
    if case.items:
        rates["items_per_sec"] = case.items / own.median
    return rates


def _peak(side: Callable[..., Any], inputs: tuple[Any, ...], timing: Timing, options: Options) -> Record:
    """Measure the peak memory of one more call, which a side too slow to be called twice is spared."""
    if not options.memory:
        return {}
    if timing.rounds == 1:
        return {"peak_memory_bytes": None, "peak_memory_missing": "too slow to be called again"}
    try:
        return {"peak_memory_bytes": peak_bytes(lambda: side(*inputs), options.device)}
    except OSError as error:
        return {"peak_memory_bytes": None, "peak_memory_missing": str(error)}
