# SPDX-License-Identifier: Apache-2.0
"""The normaliser under activation checkpointing, which runs a forward pass again inside the backward pass."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

import torch
from torch import Tensor

_KEPT = 64  # forward passes before one backward pass; each is one number


class NormalizerHistory:
    """What the latest forward passes divided by, so that one that is run again divides by the same.

    A pass is known by its ground truth, which lies outside of what is run again. Of several with the same ground truth
    the latest is taken first, as the backward pass goes through them.
    """

    def __init__(self) -> None:
        self._passes: deque[tuple[weakref.ref[Tensor], Tensor]] = deque(maxlen=_KEPT)
        self._moved_forward = False

    def is_step(self) -> bool:
        """Tell whether this pass, of a module in training, may move the normaliser on.

        With ``use_reentrant=False`` the first run of a pass moved it, with ``use_reentrant=True`` the first ran without
        gradients and did not.
        """
        moves = torch.is_grad_enabled()
        if is_recomputed():
            return moves and not self._moved_forward
        self._moved_forward = moves
        return moves

    def note(self, ground_truth: Tensor, normalizer: Tensor) -> None:
        """Remember what a pass with this ground truth divided by, ()."""
        self._passes.append((weakref.ref(ground_truth), normalizer.detach()))

    def recall(self, ground_truth: Tensor) -> Tensor | None:
        """Return what the pass that is run again divided by, (); None where no pass with this ground truth is known."""
        if not is_recomputed():
            return None
        for index in range(len(self._passes) - 1, -1, -1):
            known, normalizer = self._passes[index]
            if known() is ground_truth:
                del self._passes[index]
                return normalizer
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as empty: a copy has had no pass."""
        return type(self), ()


def is_recomputed() -> bool:
    """Tell whether a forward pass is being run again, inside a backward pass."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
