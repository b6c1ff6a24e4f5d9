# SPDX-License-Identifier: Apache-2.0
"""Where a run computes: its device, its number format, and one process or several under torchrun."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Attributes:
        device: Where this process computes.
        rank: Number of this process.
        world_size: Number of processes.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Have gradients averaged over processes, for a module whose forward pass gives the losses."""
        if self.world_size == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids)

    def gather(self, value: T) -> list[T]:
        """Collect the value of every process, in the order of ranks, on every process."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def from_main(self, value: T) -> T:
        """Give every process the value that the main process has."""
        if self.world_size == 1:
            return value
        values: list[Any] = [value]
        dist.broadcast_object_list(values, src=0, device=self.device if self.device.type == "cuda" else None)
        result: T = values[0]
        return result

    def close(self) -> None:
        """Leave the process group."""
        if self.world_size > 1:
            dist.destroy_process_group()


def start_processes(device: str) -> Processes:
    """Join torchrun's process group where there is one.

    Args:
        device: "auto", or a torch device such as "cpu", "cuda", "cuda:1"; "auto" takes a GPU where there is one.

    Raises:
        ValueError: For a device that torch does not know or that is not there.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local_rank = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device {device!r} is not one that torch knows; give auto, cpu, cuda or cuda:N") from None
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError("device cuda was asked for, but torch sees no GPU; python -m asl_fast.env says why")
        if chosen.index is None:
            chosen = torch.device("cuda", local_rank)
        if chosen.index >= torch.cuda.device_count():
            raise ValueError(f"device {chosen} was asked for, but there are {torch.cuda.device_count()} GPUs")
        torch.cuda.set_device(chosen)
    if world_size > 1:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Processes(chosen, rank, world_size)


def lost_peer(error: RuntimeError) -> bool:
    """Say whether an error means that another process of the group is gone."""
    if not (dist.is_available() and dist.is_initialized()):
        return False
    # gloo reports what its sockets do, as a plain RuntimeError.
    signs = ("connection closed by peer", "connection reset", "connection refused", "broken pipe", "gloo", "nccl")
    return isinstance(error, dist.DistError) or any(sign in str(error).lower() for sign in signs)


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Say whether ``precision`` means that the detector runs in bfloat16 on ``device``.

    "auto" means it where the hardware computes in bfloat16; elsewhere that is emulated, several times slower than
    float32.

    Args:
        precision: "auto", "fp32" or "bf16".
        device: Where the detector runs.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older releases of torch cannot be asked.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
