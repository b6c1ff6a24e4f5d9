# SPDX-License-Identifier: Apache-2.0
"""One training step on fake CUDA tensors: what it would launch, and what would keep it from being one CUDA graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from asl_fast.kernels import _launch, launch_counter
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import profiler
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from asl_fast.losses import RaggedTargets
from asl_fast.models.detector import ActionDetector
from asl_fast.ops import _dispatch, _library
from asl_fast.training import ema
from asl_fast.training.config import TrainConfig
from asl_fast.training.graph import capacity_for
from asl_fast.training.schedule import WarmupCosine, make_rates
from asl_fast.training.stages import recorded, stage_of
from asl_fast.training.state import TrainingState, TrainingStep
from asl_fast.training.step import TrainStep
from benchmarks.fake_cuda.launching import launched_by
from benchmarks.prediction.devices import DEVICES

STEPS = 10


@dataclass
class Trace:
    """What a step does.

    Attributes:
        launches: Kernels and memory operations by (stage, category, name), as PyTorch and the launchers would start
            them.
        obstacles: What a CUDA graph cannot hold, in words: reads by the host, shapes from data, copies between host
            and device.
        least_sec: Seconds that an H100 takes at least, predicted: of every operator the longer of its bytes and its
            products, by the rates of `benchmarks.prediction.devices`; launches are free, as in a graph.
    """

    launches: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    obstacles: list[str] = field(default_factory=list)
    least_sec: float = 0.0

    def by_category(self) -> Counter[str]:
        """Add up the launches by category."""
        found: Counter[str] = Counter()
        for (_, category, _), count in self.launches.items():
            found[category] += count
        return found


def trace_step(config: TrainConfig, videos: int, length: int, instances: int, *, autocast: bool = False) -> Trace:
    """Take two steps on fake CUDA tensors and note the second: the first makes the moments of the optimiser.

    Args:
        config: Of the run, with the model's inputs and outputs.
        videos: B.
        length: T, padded, in grid steps.
        instances: Of the batch; padded as for a graph.
        autocast: Run the detector in bfloat16.
    """
    cuda, trace = torch.device("cuda", 0), Trace()
    # Backward in this thread as well, where the noting is.
    with FakeTensorMode(), patched(ON_A_GPU), torch.autograd.set_multithreading_enabled(False):
        state = TrainingState(config, cuda)
        module = TrainingStep(state.detector, state.loss, autocast=autocast).train()
        rates = make_rates(WarmupCosine(2, STEPS), state)
        step = TrainStep(state, module, rates, config.optimizer.clip_norm)
        features = torch.empty(videos, length, config.model.feature_dim, device=cuda)
        mask = torch.empty(videos, length, dtype=torch.bool, device=cuda)
        capacity = capacity_for(instances)
        targets = RaggedTargets(
            torch.empty(capacity, 2, device=cuda),
            torch.empty(capacity, dtype=torch.int64, device=cuda),
            torch.empty(videos + 1, dtype=torch.int64, device=cuda),
        )
        for noted in (Trace(), trace):
            tracer = Tracer(noted)
            with recorded(), tracer, patched({(profiler, "record_function"): tracer.record_function}):
                step.compute(features, mask, targets)
    return trace


class Tracer(TorchDispatchMode):
    """Notes every operator; goes on after one that a graph could not hold, where it can."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace, self.stages = trace, ["rest"]

    @contextmanager
    def record_function(self, name: str, args: str | None = None) -> Iterator[None]:
        """Take the place of PyTorch's, whose records do not live under fake tensors."""
        self.stages.append(stage_of(name) or self.stages[-1])
        try:
            yield
        finally:
            self.stages.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name.startswith("asl_fast::"):
            return self._ours(name.removeprefix("asl_fast::"), args)
        given = [x for x in _pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        # Those without write into their operands, whose shapes stay.
        found = None if name in WITHOUT_FAKE else func(*args, **kwargs)
        results = [x for x in _pytree.tree_leaves(found) if isinstance(x, Tensor)]
        self._check(func, given, results)
        launched = list(launched_by(func, args, given, results))
        for category, kernel, count in launched:
            self.trace.launches[self.stages[-1], category, kernel] += count
        if launched:
            count_products = flop_registry.get(func._overloadpacket)
            products = 0 if count_products is None else count_products(*args, **kwargs, out_val=found)
            self.trace.least_sec += _least_sec((*given, *results), products)
        return found

    def _check(self, func: Any, given: list[Tensor], results: list[Tensor]) -> None:
        name = f"{func._schema.name}.{func._overloadname}"
        devices = {x.device.type for x in (*given, *results)}
        if func._schema.name in ("aten::_local_scalar_dense", "aten::item", "aten::equal", "aten::is_nonzero"):
            self.trace.obstacles.append(f"{name} is read by the host")
        elif func._schema.name in FROM_DATA or torch.Tag.dynamic_output_shape in func.tags:
            self.trace.obstacles.append(f"{name} has a shape from data")
        elif len(devices) > 1:
            self.trace.obstacles.append(f"{name} copies between host and device")
        elif func._schema.name == "aten::lift_fresh":
            self.trace.obstacles.append(f"{name} makes a tensor of numbers of the host")
        elif devices == {"cpu"}:
            self.trace.obstacles.append(f"{name} computes on the host")

    def _ours(self, op: str, args: tuple[Any, ...]) -> Any:
        """Run the Triton launcher up to its launches, so that what it does around them is seen as well."""
        launcher = _dispatch.load(op, "triton")
        stage = self.stages[-1]

        def note(kernel: Any, grid: Any, *arguments: Any, **options: Any) -> None:
            category = "attention" if "attention" in op else "loss"
            self.trace.launches[stage, category, kernel.fn.__name__] += 1

        original, _launch.launch = _launch.launch, note
        try:
            with self:
                found = _dispatch.as_returned(launcher(_library.OPERANDS[op](*args)))
        finally:
            _launch.launch = original
        self.trace.least_sec += _least_sec([x for x in _pytree.tree_leaves((args, found)) if isinstance(x, Tensor)], 0)
        return found


def _least_sec(tensors: Iterable[Tensor], products: int) -> float:
    """Predict the least time of an operator on an H100 from its operands and results, and operations in products."""
    device, tensors = DEVICES["sm_90"], list(tensors)
    # What is expanded lies in memory once.
    moved = sum(min(x.numel() * x.element_size(), x.untyped_storage().nbytes()) for x in tensors)
    kind = "half" if any(x.dtype in (torch.bfloat16, torch.float16) for x in tensors) else "tf32"
    return max(moved / device.copy_bytes, products / device.dense_flops[kind])


FROM_DATA = {"aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_dim", "aten::bincount",
             "aten::unique_consecutive"}  # fmt: skip
WITHOUT_FAKE = {"aten::_fused_adamw_", "aten::_fused_sgd_"}


def _moved(module: nn.Module, device: torch.device) -> nn.Module:
    """Give a module new parameters and buffers on a device; fake ones cannot take over the memory of others."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            moved = nn.Parameter(parameter.detach().to(device), requires_grad=parameter.requires_grad)
            part.register_parameter(name, moved)
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = buffer.to(device)
    return module


def _another(detector: ActionDetector) -> ActionDetector:
    """Make another detector like this one; a deep copy of fake tensors would copy memory that is not there."""
    made = ActionDetector(detector.config)
    _moved(made, next(detector.parameters()).device)
    return made


def _full_attention(q: Tensor, k: Tensor, v: Tensor, *, attn_mask: Tensor) -> Tensor:
    """Choose the kernel that PyTorch's own choice falls on with a mask; the choice itself is part of its CUDA code."""
    bias = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill_(attn_mask.logical_not(), -torch.inf)
    bias = bias.expand(*q.shape[:3], k.shape[2])
    found = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, bias, torch.is_grad_enabled())
    attended: Tensor = found[0]
    return attended


class _Stream:
    cuda_stream = 0


ON_A_GPU: dict[tuple[Any, str], Any] = {
    (torch.cuda, "is_current_stream_capturing"): lambda: True,
    (torch.cuda, "current_stream"): lambda device=None: _Stream(),
    (torch.cuda, "current_device"): lambda: 0,
    (torch.cuda, "device"): lambda device: nullcontext(),
    # The first step of a shape, which is not captured, has made the bank that these come from.
    (launch_counter, "_for_a_graph"): lambda device: torch.empty(1, dtype=torch.int32, device=device),
    (torch.cuda.amp.common, "amp_definitely_not_available"): lambda: False,
    (torch.cuda, "is_bf16_supported"): lambda including_emulation=True: True,
    (nn.Module, "to"): _moved,
    (ema, "deepcopy"): _another,
    (F, "scaled_dot_product_attention"): _full_attention,
}
"""What answers the questions to torch.cuda where there is no GPU to answer, by owner and name."""


@contextmanager
def patched(values: Mapping[tuple[Any, str], Any]) -> Iterator[None]:
    """Give attributes other values, by owner and name, for a while."""
    before = {(owner, name): getattr(owner, name) for owner, name in values}
    for (owner, name), value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name), value in before.items():
            setattr(owner, name, value)
