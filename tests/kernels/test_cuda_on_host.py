# SPDX-License-Identifier: Apache-2.0
"""The stand-in for a GPU runs right kernels rightly, and says what is wrong with wrong ones."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.kernels import cuda_on_host

# Under the sanitizers these end the process.
by_the_module_itself = pytest.mark.skipif(
    os.environ.get("ASL_FAST_SANITIZE") == "1", reason="a sanitizer finds it first"
)

THREADS = 80
KERNELS = (
    "reverse", "reverse_without_barrier", "barrier_for_some", "two_barriers", "lane_not_in_mask", "two_collectives",
    "odd_vector", "beyond_shared", "collectives",
)  # fmt: skip


@pytest.fixture
def library() -> Iterator[ctypes.CDLL]:
    opened = cuda_on_host.library()
    opened.cuda_on_host_self_test.restype = ctypes.c_char_p
    opened.cuda_on_host_self_test.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int] * 2]
    yield opened
    opened.cuda_on_host_set_order(1)


def run(library: ctypes.CDLL, kernel: str, values: Tensor, rows: int, blocks: int = 1, shared: int = 0) -> Tensor:
    """Return (rows, THREADS) that the kernel wrote; raise what the launcher would."""
    out = torch.full((rows, THREADS), -7.0)
    error = library.cuda_on_host_self_test(KERNELS.index(kernel), values.data_ptr(), out.data_ptr(), blocks, shared)
    if error:
        raise RuntimeError(error.decode())
    return out


def test_blocks_share_memory_across_a_barrier_in_any_order(library: ctypes.CDLL) -> None:
    values = torch.randn(5, THREADS)
    for seed in range(4):
        library.cuda_on_host_set_order(seed)
        assert torch.equal(run(library, "reverse", values, 5, blocks=5), values.flip(1))


def test_a_missing_barrier_shows(library: ctypes.CDLL) -> None:
    values = torch.randn(THREADS)
    found = run(library, "reverse_without_barrier", values, 1, shared=4 * THREADS)
    assert bool(found.isnan().any())


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("barrier_for_some", r"not all threads reach a barrier.*__syncthreads \(self_test.cu:\d+\).*1 of 80 have left"),
        ("two_barriers", r"two barriers: __syncthreads \(self_test.cu:\d+\) and __syncthreads \(self_test.cu:\d+\)"),
        ("lane_not_in_mask", r"a mask that does not name it; block \(0, 0, 0\) of \(1, 1, 1\), thread \(\d+, 0, 0\)"),
        ("two_collectives", "lanes of one warp meet in __shfl"),
        pytest.param("odd_vector", "an access that is not aligned", marks=by_the_module_itself),
        pytest.param("beyond_shared", "an index outside of its array", marks=by_the_module_itself),
    ],
)
def test_a_mistake_is_named(library: ctypes.CDLL, kernel: str, message: str) -> None:
    values = torch.randn(2 * THREADS)
    with pytest.raises(RuntimeError, match=message):
        run(library, kernel, values, 1)
    assert torch.equal(run(library, "reverse", values, 2, blocks=2), values.view(2, -1).flip(1)), "the next one runs"


@pytest.mark.parametrize(("blocks", "shared", "message"), [(0, 0, "configuration"), (1, 49153, "invalid argument")])
def test_an_impossible_launch_is_refused(library: ctypes.CDLL, blocks: int, shared: int, message: str) -> None:
    with pytest.raises(RuntimeError, match=f"self test failed: invalid.*{message}|{message}"):
        run(library, "reverse", torch.zeros(THREADS), 1, blocks, shared)


def test_collective_operations(library: ctypes.CDLL) -> None:
    values = torch.randn(THREADS) * 3
    found = run(library, "collectives", values, 11)
    up, down, across, narrow, ballot = (torch.empty(THREADS) for _ in range(5))
    for i in range(THREADS):
        warp = i // 32 * 32
        lanes = values[warp : warp + 32]
        up[i] = values[i - 3] if i % 32 >= 3 else values[i]
        down[i] = values[i + 5] if i % 8 < 3 else values[i]
        across[i] = lanes[i % 32 ^ 9]
        narrow[i] = values[i // 4 * 4 + 2]
        ballot[i] = (lanes > 0).sum()
    assert torch.equal(found[:5], torch.stack((up, down, across, narrow, ballot)))
    assert bool((found[5] == (values > 0).sum()).all()) and bool((found[6] == 1).all())
    even = torch.arange(THREADS).view(-1, 2)[:, 0]
    sums = torch.stack([even[even // 32 == i // 32].sum() if i % 2 == 0 else torch.tensor(0) for i in range(THREADS)])
    assert torch.equal(found[7], sums.float())
    assert torch.equal(found[8], values.half().float()) and torch.equal(found[9], values.bfloat16().float())
    assert bool((found[10] == THREADS % 7).all())


def test_halves_round_as_in_torch(library: ctypes.CDLL) -> None:
    special = torch.tensor([0.0, -0.0, 1e-8, 6e-8, 3e-5, 6.1e-5, 65504.0, 65519.0, 65520.0, 1e30, -1e-45, 2049.0])
    for chunk in (special, -special, 2.0 ** torch.arange(-40.0, 40.0) * 1.000488):
        values = torch.zeros(THREADS)
        values[: len(chunk)] = chunk
        found = run(library, "collectives", values, 11)
        assert torch.equal(found[8], values.half().float()) and torch.equal(found[9], values.bfloat16().float())
