# SPDX-License-Identifier: Apache-2.0
"""Where a run computes: its device, its number format, and one process or several under torchrun."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from asl_fast.environment import named_device
from asl_fast.training.freed_memory import keep_freed_memory
from asl_fast.training.heartbeat import Heartbeat, PeerHangsError

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Attributes:
        device: Where this process computes.
        rank: Number of this process.
        world_size: Number of processes.
        heartbeat: Signs of life of the processes; None where there is one.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    heartbeat: Heartbeat | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Have gradients averaged over processes, for a module whose forward pass gives the losses."""
        if self.world_size == 1:
            return module
        for parameter in module.parameters():
            if parameter.requires_grad and 1 in parameter.shape:
                parameter.register_hook(partial(_laid_out_like, parameter))  # type: ignore[no-untyped-call]
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids)

    def gather(self, value: T) -> list[T]:
        """Collect the value of every process, in the order of ranks, on every process."""
        if self.world_size == 1:
            return [value]
        self.meet()
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def from_main(self, value: T) -> T:
        """Give every process the value that the main process has."""
        if self.world_size == 1:
            return value
        self.meet()
        values: list[Any] = [value]
        dist.broadcast_object_list(values, src=0, device=self.device if self.device.type == "cuda" else None)
        result: T = values[0]
        return result

    def meet(self) -> None:
        """Wait for all processes, however long those that get on may take.

        Raises:
            PeerHangsError: When one does not get on.
        """
        if self.heartbeat is not None:
            self.heartbeat.meet()

    def beat(self) -> None:
        """Show that this process gets on, so that the others wait for it."""
        if self.heartbeat is not None:
            self.heartbeat.beat()

    def working(self) -> AbstractContextManager[None]:
        """Show that this process gets on while it does one long thing."""
        return nullcontext() if self.heartbeat is None else self.heartbeat.working()

    def close(self) -> None:
        """Leave the process group."""
        if self.world_size > 1:
            dist.destroy_process_group()


def _laid_out_like(parameter: Tensor, grad: Tensor) -> Tensor:
    """Return a gradient with the strides of its parameter.

    That of a depthwise convolution has others along its dimension of size 1. They mean the same, but data parallelism
    warns of them in every process.
    """
    return grad if grad.stride() == parameter.stride() else torch.empty_like(parameter).copy_(grad)


def start_processes(device: str, *, limit_sec: float = 60.0) -> Processes:
    """Join torchrun's process group where there is one, and make ready for a device.

    Args:
        device: "auto", or a torch device such as "cpu", "cuda", "cuda:1"; "auto" takes a GPU where there is one.
        limit_sec: How long a process that does not get on is waited for.

    Raises:
        ValueError: For a device that torch does not know or that is not there.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local_rank = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    chosen = named_device(device)
    if chosen.type == "cuda":
        if chosen.index is None:
            chosen = named_device(f"cuda:{local_rank}")
        torch.cuda.set_device(chosen)
    keep_freed_memory()
    if world_size == 1:
        return Processes(chosen)
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]  # some torches have none

    # Its functions have the group of the moment of import as a default. Imported later, as data parallelism does, it
    # would keep the group and its threads until the interpreter ends, where one that lets go of a tensor aborts.
    from torch.distributed import nn as _functions  # noqa: F401

    # All have to come first, which may take long where a machine has just been started.
    store, rank, world_size = next(rendezvous("env://", timeout=timedelta(minutes=10)))
    dist.init_process_group(
        "nccl" if chosen.type == "cuda" else "gloo",
        store=PrefixStore("collectives", store),
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=limit_sec),
    )
    heartbeat = Heartbeat(PrefixStore("heartbeat", store), rank, world_size, limit_sec)
    return Processes(chosen, rank, world_size, heartbeat)


def lost_peer(error: RuntimeError) -> bool:
    """Say whether an error means that another process of the group is gone, or hangs."""
    if isinstance(error, PeerHangsError):
        return True
    if not (dist.is_available() and dist.is_initialized()):
        return False
    # gloo reports what its sockets do, as a plain RuntimeError.
    closed = ("connection closed by peer", "connection reset", "connection refused", "broken pipe")
    signs = (*closed, "timed out waiting", "wait timeout", "gloo", "nccl")
    return isinstance(error, dist.DistError) or any(sign in str(error).lower() for sign in signs)


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Say whether ``precision`` means that the detector runs in bfloat16 on ``device``.

    Args:
        precision: "auto", which is bfloat16 where `computes_in_bf16`; "fp32" or "bf16".
        device: Where the detector runs.
    """
    return computes_in_bf16(device) if precision == "auto" else precision == "bf16"


def computes_in_bf16(device: torch.device) -> bool:
    """Say whether the hardware computes in bfloat16; elsewhere that is emulated, several times slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older releases of torch cannot be asked.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
