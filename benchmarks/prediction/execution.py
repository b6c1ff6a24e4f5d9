# SPDX-License-Identifier: Apache-2.0
"""How often each instruction of a kernel is issued, and how long a warp alone would take: control flow, executed.

A lane is run from the kernel's start with the real arguments. Loops whose branch depends on what is known (arguments,
block and thread index, integers that the case's own tensors hold) are counted exactly, however long: once two rounds
were alike, the registers that move by a constant step are moved on by as many rounds as the branch allows, found by
bisection. A branch that depends on anything else is assumed: forward ones fall through, so that both sides count, or
are taken where the least is asked for; loops take the rounds that are stated, else one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.prediction.classes import family, product
from benchmarks.prediction.machine import MASK, Machine, Place, Value, signed
from benchmarks.prediction.sass import NO_BARRIER, Instruction
from benchmarks.prediction.semantics import build, forget
from benchmarks.prediction.steps import Step

MOST_STEPS = 3_000_000
MOST_ROUNDS = 1 << 34


class DoesNotEnd(RuntimeError):
    """The code was run for longer than any kernel should need."""


@dataclass(frozen=True)
class Latencies:
    """Cycles until a result is there; of memory unloaded, of tensor cores per flop of a multiprocessor."""

    memory: int = 600
    constant: int = 30
    shared: int = 30
    special: int = 24
    shuffle: int = 25
    atomic: int = 600
    barrier: int = 20
    flops_per_cycle: Mapping[str, float] = field(
        default_factory=lambda: {"half": 4096.0, "tf32": 2048.0, "fp64": 256.0}
    )

    def of(self, instruction: Instruction) -> int:
        """Return the cycles until an instruction releases the barrier that it sets."""
        kind = family(instruction)
        named = {
            "LDG": self.memory,
            "LDL": self.memory // 4,
            "LDS": self.shared,
            "MUFU": self.special,
            "convert": self.special,
            "SHFL": self.shuffle,
            "ATOM": self.atomic,
            "constant": self.constant,
        }
        return named.get(kind, self.barrier)


@dataclass
class Run:
    """What one warp did.

    Attributes:
        counts: How often each instruction was issued.
        idle: How often of these its guard was false, so that no unit had to do with it.
        cycles: It took alone.
        assumed: Addresses of the branches that depended on something unknown.
    """

    counts: list[int]
    idle: list[int]
    cycles: float
    assumed: set[int]


class _Warp:
    """Runs the code for one lane, which stands for its warp."""

    def __init__(
        self,
        code: Sequence[Instruction],
        place: Place,
        shared: dict[int, Value],
        latencies: Latencies,
        rounds: int,
        skips: bool,
    ) -> None:
        self.code, self.latencies, self.rounds, self.skips = code, latencies, rounds, skips
        self.machine = Machine(place, shared)
        self.index = {instruction.address: at for at, instruction in enumerate(code)}
        # Made when they are first needed: most code is not reached, and hardly a guard is unknown.
        self.steps: list[Step | None] = [None] * len(code)
        self.forget: list[Step | None] = [None] * len(code)
        self.guards = [self.machine.predicate(one.guard) if one.guard else None for one in code]
        self.latency = [latencies.of(one) for one in code]
        self.tensor = [self._tensor_cycles(one) for one in code]
        self.counts, self.idle = [0] * len(code), [0] * len(code)
        self.taken = 0
        self.time = 0.0
        self.ready = [0.0] * 8
        self.tensor_ready = 0.0
        self.copies: list[float] = []
        self.assumed: set[int] = set()
        self.left: dict[int, int] = {}
        self.loop_starts: dict[int, int] = {}

    def _tensor_cycles(self, one: Instruction) -> float:
        done = product(one)
        # Four warps fill the multiprocessor's tensor cores, so one warp has a quarter of them.
        return 4 * done.flops / self.latencies.flops_per_cycle[done.rate] if done else 0.0

    def run(self, at: int, stop: int = -1) -> int:
        """Execute from ``at`` until the end, or until ``stop`` is about to be executed; return where."""
        code = self.code
        history: dict[int, list[_Round]] = {}
        while 0 <= at < len(code) and at != stop:
            self.taken += 1
            if self.taken > MOST_STEPS:
                raise DoesNotEnd(f"{MOST_STEPS} instructions executed; the last one is at {code[at].address:#x}")
            one = code[at]
            guard = self.guards[at]
            holds = 1 if guard is None else guard()
            self._issue(at, holds)
            if one.base in ("BRA", "EXIT", "BRX", "CALL", "RET", "JMP"):
                after = self._branch(at, holds)
                if one.base == "BRA" and 0 <= after <= at:
                    self._round(at, after, history.setdefault(at, []))
                elif after > at:
                    history.pop(at, None)
                at = after
                continue
            if holds == 1:
                step = self.steps[at]
                if step is None:
                    step = self.steps[at] = build(self.machine, one)
                step()
            elif holds is None:
                step = self.forget[at]
                if step is None:
                    step = self.forget[at] = forget(self.machine, one)
                step()
            at += 1
        return at

    # Time -------------------------------------------------------------------------------------------------------------

    def _issue(self, at: int, holds: Value) -> None:
        one = self.code[at]
        self.counts[at] += 1
        time = self.time
        if one.waits:
            for barrier in range(6):
                if one.waits >> barrier & 1 and self.ready[barrier] > time:
                    time = self.ready[barrier]
        if holds == 0:
            self.idle[at] += 1
            self.time = time + max(one.stall, 1)
            return
        base = one.base
        if base == "WARPGROUP" and "DEPBAR" in one.opcode:
            time = max(time, self.tensor_ready)
        elif base == "LDGSTS":
            self.copies[-1:] = [time + self.latencies.memory] if self.copies else []
            if not self.copies:
                self.copies.append(time + self.latencies.memory)
        elif base == "LDGDEPBAR":
            self.copies.append(0.0)
        elif base == "DEPBAR" and len(self.copies) > 1:
            allowed = int(one.operands[-1], 16) if one.operands[-1].startswith("0x") else 0
            waited = self.copies[: max(0, len(self.copies) - 1 - allowed)]
            time = max([time, *waited])
        if self.tensor[at]:
            self.tensor_ready = max(self.tensor_ready, time) + self.tensor[at]
            if base != "HGMMA":
                time = self.tensor_ready
        if one.sets != NO_BARRIER:
            self.ready[one.sets] = time + self.latency[at]
        if one.reads != NO_BARRIER:
            self.ready[one.reads] = max(self.ready[one.reads], time + self.latencies.barrier)
        self.time = time + max(one.stall, 1)

    # Branches ---------------------------------------------------------------------------------------------------------

    def _branch(self, at: int, holds: Value) -> int:
        """Return where to go on."""
        one = self.code[at]
        if one.base == "EXIT":
            if holds is None:
                self.assumed.add(one.address)
            return len(self.code) if holds == 1 else at + 1
        if one.base == "RET":
            return self._return(one) if holds != 0 else at + 1
        target = self.index.get(one.target if one.target is not None else -1)
        if target is None or "DIV" in one.opcode:
            return at + 1
        for operand in one.operands[:-1]:  # BRA P0, 0x...; BRA.U UP0, 0x...
            more = self.machine.predicate(operand)()
            holds = 0 if holds == 0 or more == 0 else None if holds is None or more is None else 1
        if holds is None:
            self.assumed.add(one.address)
            return self._assume(at, target)
        return target if holds else at + 1

    def _assume(self, at: int, target: int) -> int:
        if target > at and (join := self._join(target)) > target:
            # Two sides, of which one is executed: the longer, or the shorter where the least is asked for.
            return at + 1 if (target - at > join - target) != self.skips else target
        if target > at and self.skips:
            return target
        if target > at:
            # What only a call would do is for rare operands: denormal numbers, infinities.
            skipped = self.code[at + 1 : target]
            return target if any(one.base == "CALL" for one in skipped) else at + 1
        left = self.left.get(at)
        if left is None:
            # What is stated is the outermost loop's; those within take one round.
            within = any(target > self.loop_starts[other] and at < other for other in self.left)
            left = 0 if within else self.rounds - 1
            self.loop_starts[at] = target
        self.left[at] = left - 1
        if left > 0:
            return target
        del self.left[at]
        return at + 1

    def _join(self, target: int) -> int:
        """Return where the side of a condition that ends before ``target`` meets the other; -1 if it has one side."""
        last = self.code[target - 1]
        if last.base != "BRA" or last.guard or len(last.operands) > 1 or last.target is None:
            return -1
        return self.index.get(last.target, -1)

    def _return(self, one: Instruction) -> int:
        low = self.machine.get(one.operands[0].split(" ")[0])()
        return self.index.get(-1 if low is None else low, len(self.code))

    # Loops ------------------------------------------------------------------------------------------------------------

    def _round(self, at: int, target: int, past: list[_Round]) -> None:
        """Skip rounds that are like the last two."""
        past.append(_Round(self))
        if len(past) < 3 or at in self.left:
            return
        before, middle, now = past[-3:]
        if now.work(middle) != middle.work(before):
            past[:] = past[-2:]
            return
        steps = now.steps(middle, before)
        saved = _Saved(self)
        trying, self.machine.trying = self.machine.trying, True
        rounds = self._most_rounds(at, target, steps, saved)
        self.machine.trying = trying
        saved.restore(self)
        if rounds:
            self._advance(steps, rounds)
            added, time = now.work(middle), now.time - middle.time
            both = [have + rounds * more for have, more in zip(self.counts + self.idle, added, strict=True)]
            self.counts, self.idle = both[: len(self.code)], both[len(self.code) :]
            self.time += rounds * time
            self.ready = [ready + rounds * time for ready in self.ready]
            self.tensor_ready += rounds * time
            self.copies = [ready + rounds * time for ready in self.copies]
        past.clear()

    def _most_rounds(self, at: int, target: int, steps: Mapping[str, list[Value]], saved: _Saved) -> int:
        """Find after how many rounds more the branch is still taken.

        What counts down stays above zero: the rest is executed. Below, the high word of a pair would have changed too.
        A branch that has no condition is not reached again when the loop is left elsewhere; where that hangs on what
        nobody knows, no round is skipped.
        """
        conditional = self.guards[at] is not None or len(self.code[at].operands) > 1
        most = min(
            (
                signed(value) // -signed(step)
                for name, values in self.machine.files.items()
                for value, step in zip(values, steps[name], strict=True)
                if value is not None and step is not None and signed(value) >= 0 > signed(step)
            ),
            default=MOST_ROUNDS,
        )

        def goes_on(rounds: int) -> bool:
            saved.restore(self)
            if rounds > most:
                return False
            self._advance(steps, rounds)
            if self.run(target, at) != at:
                return False
            guard = self.guards[at]
            holds = 1 if guard is None else guard()
            self._issue(at, holds)
            return self._branch(at, holds) == target and at not in self.left

        if not goes_on(1):
            return 0
        low, high = 1, 2
        while goes_on(high):
            low, high = high, 2 * high
            if high > MOST_ROUNDS and not conditional:
                return 0
            if high > MOST_ROUNDS:
                raise DoesNotEnd(f"the loop that ends at {self.code[at].address:#x} does not")
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if goes_on(middle) else (low, middle)
        return low

    def _advance(self, steps: Mapping[str, list[Value]], rounds: int) -> None:
        for name, values in self.machine.files.items():
            for at, step in enumerate(steps[name]):
                value = values[at]
                if step is None or value is None:
                    values[at] = None
                elif step:
                    values[at] = (value + rounds * step) & MASK


class _Round:
    """The state at the end of a round of a loop."""

    def __init__(self, warp: _Warp) -> None:
        self.registers, self.counts, self.time = warp.machine.snapshot(), warp.counts + warp.idle, warp.time

    def work(self, before: _Round) -> list[int]:
        """Return what was issued since."""
        return [now - then for now, then in zip(self.counts, before.counts, strict=True)]

    def steps(self, middle: _Round, before: _Round) -> dict[str, list[Value]]:
        """Return by how much each register moves in a round; None where that is not constant, or not known."""
        found: dict[str, list[Value]] = {}
        for name, values in self.registers.items():
            found[name] = [
                None if None in (x, y, z) else y - x & MASK if y - x & MASK == z - y & MASK else None  # type: ignore[operator]
                for x, y, z in zip(before.registers[name], middle.registers[name], values, strict=True)
            ]
        return found


class _Saved:
    """Everything that a try changes."""

    def __init__(self, warp: _Warp) -> None:
        self.registers, self.counts, self.idle = warp.machine.snapshot(), list(warp.counts), list(warp.idle)
        self.shared = dict(warp.machine.shared)
        self.rest = (
            warp.time,
            list(warp.ready),
            warp.tensor_ready,
            list(warp.copies),
            dict(warp.left),
            set(warp.assumed),
        )

    def restore(self, warp: _Warp) -> None:
        """Take everything back."""
        warp.machine.restore(self.registers)
        warp.machine.shared.clear()
        warp.machine.shared.update(self.shared)
        warp.counts, warp.idle = list(self.counts), list(self.idle)
        time, ready, tensor, copies, left, assumed = self.rest
        warp.time, warp.ready, warp.tensor_ready = time, list(ready), tensor
        warp.copies, warp.left, warp.assumed = list(copies), dict(left), set(assumed)


def execute(
    code: Sequence[Instruction],
    place: Place,
    shared: dict[int, Value],
    latencies: Latencies,
    rounds: int = 1,
    *,
    skips: bool = False,
) -> Run:
    """Run one warp of one block.

    Args:
        code: Of the kernel.
        place: Which lane.
        shared: Words of the block's shared memory that earlier warps left, by address; changed.
        latencies: To wait for.
        rounds: How many a loop takes whose branch depends on something unknown, if it is not within another such loop.
        skips: Take the forward branches that depend on something unknown, which leaves out what they guard: the least
            that can be; else fall through, the most.

    Raises:
        DoesNotEnd: The code runs on and on.
    """
    warp = _Warp(code, place, shared, latencies, rounds, skips)
    warp.run(0)
    return Run(warp.counts, warp.idle, warp.time, warp.assumed)
