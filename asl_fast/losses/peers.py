# SPDX-License-Identifier: Apache-2.0
"""Several processes as one: sums over all of them, and the rows of all of them, with gradients.

Every process gets the same result. A gradient that comes back is multiplied by the number of processes, because data
parallelism (DDP, FSDP) averages the gradients of the processes, and the average has to be their sum.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Peers:
    """The processes of a process group, each of which has some videos of one batch.

    Args:
        group: None is the group of all processes.

    Attributes:
        size: Number of processes.
        rank: Number of this one.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group
        self.size, self.rank = dist.get_world_size(group), dist.get_rank(group)

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of the processes' tensors of one shape, without a gradient."""
        values = values.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(values, group=self.group)
        return values

    def summed(self, values: Tensor) -> Tensor:
        """Return the sum of the processes' tensors of one shape, with its gradient."""
        result: Tensor = _Summed.apply(values, self)  # type: ignore[no-untyped-call]
        return result

    def gathered(self, rows: Tensor) -> Tensor:
        """Return the rows (K_r, ...) of all processes below each other, in the order of ranks, with their gradient."""
        result: Tensor = _Gathered.apply(rows, self)  # type: ignore[no-untyped-call]
        return result

    def counts(self, count: int, device: torch.device) -> list[int]:
        """Return a number of every process."""
        counts = torch.zeros(self.size, dtype=torch.int64, device=device)
        counts[self.rank] = count
        found: list[int] = self.total(counts).tolist()
        return found


def find_peers() -> Peers | None:
    """Return all processes where there are several, as under torchrun."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return None
    return Peers()


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, peers: Peers) -> Tensor:
        ctx.size = peers.size
        return peers.total(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.size, None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, peers: Peers) -> Tensor:
        counts = peers.counts(len(rows), rows.device)
        # Parts of one size are what every backend can gather.
        part = rows.new_zeros((max(counts), *rows.shape[1:]))
        part[: len(rows)] = rows
        parts = [torch.empty_like(part) for _ in counts]
        dist.all_gather(parts, part, group=peers.group)
        begin = sum(counts[: peers.rank])
        ctx.here, ctx.size = slice(begin, begin + len(rows)), peers.size
        return torch.cat([each[:count] for each, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # All processes compute the same loss of the same rows, so the gradient here is that everywhere.
        return grads[0][ctx.here] * ctx.size, None
