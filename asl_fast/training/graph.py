# SPDX-License-Identifier: Apache-2.0
"""The whole training step as one CUDA graph per shape of its batch, in the place of some thousand launches.

A graph is a recording of launches with fixed addresses and sizes. So a batch is copied into buffers that stay where
they are, its instances padded to one of a few capacities (rows at ``video_offsets[-1]`` and beyond take no part in any
loss), and what changes from step to step comes from a table on the device (:mod:`asl_fast.training.schedule`). Dropout
and drop path draw from the device's default generator: a graph takes its place in the sequence at every replay and
moves it on, as the operators would.

No GPU has run this yet: what is shown is that the step captures (no read by the host, no shape from data) and that the
bookkeeping here takes the same steps as without graphs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from asl_fast.command_line.errors import CommandError
from asl_fast.losses import RaggedTargets
from asl_fast.training.distributed import Processes
from asl_fast.training.stages import stage
from asl_fast.training.step import Step, StepNumbers, TrainStep

LEAST_CAPACITY = 64
"""Smallest number of instances that buffers are made for; the others are its multiples by powers of two."""

MOST_GRAPHS = 24
"""Graphs kept at a time; the one that was not used for the longest time makes room for a new one."""


class Shape(NamedTuple):
    """What a graph is made for.

    Attributes:
        videos: B.
        length: T, the padded length in grid steps.
        capacity: Instances that its buffers have room for.
    """

    videos: int
    length: int
    capacity: int


def capacity_for(instances: int) -> int:
    """Return the number of instances that buffers are made for, at least ``instances``."""
    capacity = LEAST_CAPACITY
    while capacity < instances:
        capacity *= 2
    return capacity


def padded(targets: RaggedTargets, capacity: int) -> RaggedTargets:
    """Add instances of no video, which take no part in any loss, up to ``capacity`` in all."""
    missing = capacity - len(targets.labels)
    segments = torch.cat([targets.segments, targets.segments.new_zeros(missing, 2)])
    labels = torch.cat([targets.labels, targets.labels.new_zeros(missing)])
    return RaggedTargets(segments, labels, targets.video_offsets)


class Recorder(Protocol):
    """Runs a step and records it."""

    def run(self, call: Callable[[], StepNumbers]) -> StepNumbers:
        """Run ``call`` as it is, in the way that prepares for recording it."""
        ...

    def record(self, call: Callable[[], StepNumbers]) -> tuple[StepNumbers, Callable[[], None]]:
        """Record ``call`` without running it.

        Returns:
            Where a replay leaves its numbers, and what replays it.
        """
        ...


class CudaRecorder:
    """Records CUDA graphs that share one pool of memory, as they never run at the same time."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()

    def run(self, call: Callable[[], StepNumbers]) -> StepNumbers:
        """Run ``call`` on the stream that later records, so that libraries have their workspaces there."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            found = call()
        current.wait_stream(self.stream)
        return found

    def record(self, call: Callable[[], StepNumbers]) -> tuple[StepNumbers, Callable[[], None]]:
        """See `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        # Only what this thread does counts: a loader's thread may pin memory meanwhile.
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            found = call()
        return found, graph.replay


@dataclass(frozen=True, eq=False)
class _Recorded:
    """A recorded step: the buffers that it reads and writes, and what replays it."""

    features: Tensor
    mask: Tensor
    targets: RaggedTargets
    numbers: StepNumbers
    replay: Callable[[], None]


class GraphedStep:
    """Takes the steps of a `TrainStep` by replaying graphs; called like it, and with the same results.

    The first batch of a shape takes its step operator by operator, which is what warms libraries up, the optimiser's
    moments and a compiled detector. The second is recorded, and from then on a batch is copied in and replayed.

    Args:
        step: What to record.
        recorder: What records it.
        required: Whether a step that cannot be recorded is an error; otherwise training goes on without graphs.
    """

    def __init__(self, step: TrainStep, recorder: Recorder, *, required: bool = True) -> None:
        self.step, self.recorder, self.required = step, recorder, required
        self.recorded: OrderedDict[Shape, _Recorded | None] = OrderedDict()
        self.given_up = False

    def __call__(self, features: Tensor, mask: Tensor, targets: RaggedTargets) -> StepNumbers:
        """Take one step; see `asl_fast.training.step.Step`.

        Raises:
            CommandError: When the step cannot be recorded and has to be.
        """
        shape = Shape(features.shape[0], features.shape[1], capacity_for(len(targets.labels)))
        if self.given_up:
            return self.step(features, mask, targets)
        if shape not in self.recorded:
            self._make_room()
            self.recorded[shape] = None
            return self.recorder.run(lambda: self.step(features, mask, padded(targets, shape.capacity)))
        self.recorded.move_to_end(shape)
        found = self.recorded[shape]
        if found is None:
            found = self._record(features, mask, padded(targets, shape.capacity))
            if found is None:
                return self.step(features, mask, targets)
            self.recorded[shape] = found
        with stage("graph"):
            _fill(found, features, mask, targets)
            found.replay()
            self.step.count()
            # The next replay writes over them.
            return StepNumbers(found.numbers.names, found.numbers.values.clone())

    def _make_room(self) -> None:
        while len(self.recorded) >= MOST_GRAPHS:
            self.recorded.popitem(last=False)

    def _record(self, features: Tensor, mask: Tensor, targets: RaggedTargets) -> _Recorded | None:
        own = features.clone(), mask.clone(), RaggedTargets(*(tensor.clone() for tensor in targets))
        try:
            numbers, replay = self.recorder.record(lambda: self.step.compute(*own))
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            if self.required:
                message = f"the training step cannot be recorded as a CUDA graph: {reason}; --graph off trains without"
                raise CommandError(message, status=1) from error
            print(f"  the training step cannot be recorded as a CUDA graph, so it runs without: {reason}", flush=True)
            self.given_up = True
            self.recorded.clear()
            self.step.state.optimizer.zero_grad(set_to_none=True)
            return None
        return _Recorded(*own, numbers, replay)


def _fill(into: _Recorded, features: Tensor, mask: Tensor, targets: RaggedTargets) -> None:
    into.features.copy_(features, non_blocking=True)
    into.mask.copy_(mask, non_blocking=True)
    count = len(targets.labels)
    # What is left of an earlier batch behind them belongs to no video.
    into.targets.segments[:count].copy_(targets.segments, non_blocking=True)
    into.targets.labels[:count].copy_(targets.labels, non_blocking=True)
    into.targets.video_offsets.copy_(targets.video_offsets, non_blocking=True)


def why_no_graph(processes: Processes) -> str | None:
    """Say why training runs without graphs here; None where it can have them."""
    if processes.device.type != "cuda":
        return f"a CUDA graph needs a GPU, and training runs on {processes.device}"
    if processes.world_size > 1:
        # NCCL can be captured, but only after eleven eager passes of the wrapper, all on one side stream, and a
        # process that dies within a replay leaves the others waiting without a word.
        return f"gradients are averaged over {processes.world_size} processes, which is not recorded"
    return None


def choose_step(step: TrainStep, graph: str, processes: Processes) -> Step:
    """Return what takes the steps of a run.

    Args:
        step: Takes them operator by operator.
        graph: "auto", "on" or "off" of the configuration.
        processes: Where the run trains.
    """
    if graph == "off":
        return step
    if reason := why_no_graph(processes):
        if graph == "on" and processes.is_main:
            print(f"  training runs without --graph: {reason}", flush=True)
        return step
    return GraphedStep(step, CudaRecorder(), required=graph == "on")
