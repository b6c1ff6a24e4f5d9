# SPDX-License-Identifier: Apache-2.0
"""Where the features of the training split are kept while a run trains: on its GPU, in memory, or in their files."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from asl_fast.environment import free_memory_of
from asl_fast.training.config import Cache

SHARE_OF_FREE = 0.5
"""Share of the free memory that features may take. The rest is for weights and activations, and of the machine's memory
for whatever else runs there; its processes of one run share that half."""


def where_to_keep(
    option: Cache, size: Callable[[], int], device: torch.device, *, in_memory: bool = False
) -> torch.device | None:
    """Choose where the features of the training split lie.

    Args:
        option: Of the configuration. "auto" takes the first that has room: the GPU that trains, the machine's memory.
        size: Gives that of the features, in bytes; a store may have to open its files for it.
        device: Where training computes.
        in_memory: The features are in memory already.

    Returns:
        The device; None where they are read when they are needed.

    Raises:
        ValueError: When they have to lie where they do not fit.
    """
    places = {
        "auto": [torch.device("cpu")] if device.type == "cpu" else [device, torch.device("cpu")],
        "device": [device],
        "memory": [torch.device("cpu")],
        "off": [],
    }[option]
    for place in places:
        if option == "auto" and in_memory and place.type == "cpu":
            continue
        free, needed = _free(place), size()
        # Where the system does not say what is free, it is for the user to say that there is enough.
        if (free is not None and needed <= SHARE_OF_FREE * free) or (free is None and option != "auto"):
            return place
        if option != "auto":
            assert free is not None
            where = "of memory" if place.type == "cpu" else f"on {place}"
            raise ValueError(
                f"data.cache is {option}, but the features take {needed / 1e9:.1f} GB, more than {SHARE_OF_FREE:.0%} "
                f"of the {free / 1e9:.1f} GB free {where}; set it to auto or off"
            )
    return None


def _free(place: torch.device) -> int | None:
    free = free_memory_of(place)
    if free is None or place.type == "cuda":
        return free
    # As torchrun counts the processes of this machine.
    return free // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
