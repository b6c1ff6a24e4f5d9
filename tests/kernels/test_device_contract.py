# SPDX-License-Identifier: Apache-2.0
"""What every kernel promises a GPU: no value read back, no shape from data, captured in a graph, the same bits."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import asl_fast.ops
from asl_fast.backend import backend
from asl_fast.ops import _dispatch
from tests.kernels import examples

for _module in pkgutil.iter_modules(asl_fast.ops.__path__):
    if not _module.name.startswith("_"):  # each registers its ops
        importlib.import_module(f"asl_fast.ops.{_module.name}")

KERNELS = sorted(
    (op, name)
    for op in _dispatch._implementations
    for name in _dispatch.implementations(op)
    if name in ("triton", "cuda")
)
# Each of these waits for the device, or has a result whose size only the device knows.
READS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "unique_dim", "equal",
         "is_nonzero", "item", "bincount", "repeat_interleave.Tensor"}  # fmt: skip


class NoReads(TorchDispatchMode):
    """Raises at an operator that would read a value back from a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func._schema.name.removeprefix("aten::")
        if packet in READS or f"{packet}.{func._overloadname}" in READS:
            raise AssertionError(f"{func} reads a value back")
        for value in args:
            if packet.startswith("index") and isinstance(value, (list, tuple)):
                assert not any(isinstance(x, Tensor) and x.dtype == torch.bool for x in value), f"{func} by a mask"
        return func(*args, **(kwargs or {}))


def test_every_op_with_a_kernel_has_an_example() -> None:
    assert {op for op, _ in KERNELS} <= set(examples.EXAMPLES)


@pytest.mark.parametrize(("op", "name"), [pair for pair in KERNELS if pair[1] == "triton"])
def test_triton_launchers_read_nothing_back(op: str, name: str) -> None:
    pytest.importorskip("triton", minversion="3.5")
    if torch.cuda.is_available():
        pytest.skip("the sync debug mode says so on a GPU")
    function = _dispatch.load(op, name)
    given = examples.arguments(op)
    with NoReads(), torch.no_grad():
        found = function(given)
    assert all(isinstance(x, Tensor) for x in _tuple(found))


@pytest.mark.parametrize("op", [op for op, name in KERNELS if name == "cuda"])
def test_cuda_wrappers_read_nothing_back(op: str, cuda_device: torch.device) -> None:
    function = _dispatch.load(op, "cuda")
    given = examples.arguments(op, cuda_device)
    with NoReads(), torch.no_grad():
        found = function(given)
    assert all(isinstance(x, Tensor) and x.device.type == cuda_device.type for x in _tuple(found))


def test_a_read_is_noticed() -> None:
    with NoReads():
        for read in (lambda x: x.sum().item(), torch.nonzero, lambda x: x[x > 0], torch.unique):
            with pytest.raises(AssertionError):
                read(torch.arange(4.0))


@pytest.fixture(params=KERNELS if torch.cuda.is_available() else [], ids="-".join)
def on_gpu(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return an op whose implementation on the GPU is forced to one of its kernels."""
    op, name = request.param
    choice = _dispatch.choose(op, "cuda", name)
    if choice.implementation is None:
        pytest.skip(choice.reason)
    with backend(name):
        yield op


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def value_and_grads(op: str, given: examples.Operands) -> list[Tensor]:
    """Results of the op, then gradients of a weighted sum of the first where it has any."""
    results = _tuple(getattr(torch.ops.asl_fast, op).default(*given))
    leaves = [x for x in given if isinstance(x, Tensor) and x.requires_grad]
    if not leaves or not results[0].requires_grad:
        return list(results)
    weights = torch.linspace(0.5, 1.5, results[0].numel(), device=results[0].device).view(results[0].shape)
    return [*(x.detach() for x in results), *torch.autograd.grad((results[0] * weights).sum(), leaves)]


@pytest.mark.gpu
def test_equals_the_reference_without_waiting_for_the_device(on_gpu: str) -> None:
    with backend("reference"):
        expected = value_and_grads(on_gpu, examples.arguments(on_gpu))
    given = examples.arguments(on_gpu, "cuda")
    value_and_grads(on_gpu, given)  # compiles
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode("error")
        found = value_and_grads(on_gpu, given)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
def test_captured_in_a_graph_and_replayed_on_other_values(on_gpu: str) -> None:
    given, other = (examples.arguments(on_gpu, "cuda", seed) for seed in (0, 1))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            value_and_grads(on_gpu, given)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = value_and_grads(on_gpu, given)
    with torch.no_grad():
        for place, value in zip(given, other, strict=True):
            if isinstance(place, Tensor):
                place.copy_(value)
    graph.replay()
    for one, expected in zip(captured, value_and_grads(on_gpu, other), strict=True):
        assert torch.equal(one, expected)


@pytest.mark.gpu
def test_the_same_bits_when_asked_for_deterministic_algorithms(on_gpu: str) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (value_and_grads(on_gpu, examples.arguments(on_gpu, "cuda")) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.gpu
def test_registration_and_compilation_on_the_device(on_gpu: str) -> None:
    given = examples.arguments(on_gpu, "cuda")
    results = torch.library.opcheck(getattr(torch.ops.asl_fast, on_gpu).default, given)
    assert set(results.values()) == {"SUCCESS"}, results
    torch._dynamo.reset()
    compiled = torch.compile(lambda *x: getattr(torch.ops.asl_fast, on_gpu).default(*x), fullgraph=True)
    for one, other in zip(_tuple(compiled(*given)), value_and_grads(on_gpu, given), strict=False):
        assert torch.equal(one.detach(), other)
