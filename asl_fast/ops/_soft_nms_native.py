# SPDX-License-Identifier: Apache-2.0
"""Run asl_fast::soft_nms by the compiled modules."""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from types import ModuleType
from typing import Any

import torch

from asl_fast.kernels.soft_nms_order import ordered
from asl_fast.ops import _buffers
from asl_fast.ops._buffers import address
from asl_fast.reference import _outputs
from asl_fast.reference.soft_nms import METHODS, Operands, Outputs

# Where only the device knows the number of videos, there are enough blocks to fill it.
MOST_BLOCKS = 1024
NUMBERS = _buffers.numbers(Operands)
numbers_of = attrgetter(*NUMBERS)


@lru_cache(maxsize=64)
def _options(module: ModuleType, *numbers: Any) -> Any:
    """Return what the op takes beside tensors, as either module takes it; a program's calls hardly differ in it."""
    named = dict(zip(NUMBERS, numbers, strict=True))
    return module.NmsOptions(**{**named, "method": METHODS.index(named["method"])})


def cpu(given: Operands) -> Outputs:
    """Select video by video, with as many threads as ``torch.get_num_threads()``."""
    found, module = given.outputs(), _buffers.cpu_module()
    given = _buffers.contiguous_operands(given._replace(segments=given.segments.float(), scores=given.scores.float()))
    kept = module.soft_nms(
        segments=address(given.segments),
        scores=address(given.scores),
        labels=address(given.labels),
        video_index=address(given.video_index),
        count=given.scores.shape[0],
        options=_options(module, *numbers_of(given)),
        out_indices=address(found.indices),
        out_segments=address(found.segments),
        out_scores=address(found.scores),
        rows=found.indices.shape[0],
        threads=torch.get_num_threads(),
    )
    found.num_kept.fill_(kept)
    return found


def cuda(given: Operands) -> Outputs:
    """Sort by (video, score), select with a block per video, and gather the padded result."""
    found = given.outputs()
    device, count = given.scores.device, given.scores.shape[0]
    if count == 0:
        found.num_kept.zero_()
        return found
    module, stream = _buffers.cuda_module(), _buffers.stream(given.scores)
    options = _options(module, *numbers_of(given))
    with _buffers.on_device_of(given.scores):
        candidates = ordered(given)
        videos = len(candidates.starts) - 1
        positions = _outputs.empty((count,), torch.int32, device)
        selected_scores = _outputs.empty((count,), torch.float32, device)
        counts = _outputs.empty((videos,), torch.int64, device).zero_()  # fewer videos than places, mostly
        current = _outputs.empty((count,), torch.float32, device)
        best = _outputs.empty((count,), torch.int64, device)
        seen = _outputs.empty((count,), torch.int32, device)
        buffers = module.NmsBuffers(
            segments=address(candidates.segments),
            scores=address(candidates.scores),
            labels=address(candidates.labels),
            rows=address(candidates.rows),
            starts=address(candidates.starts),
            positions=address(positions),
            decayed=address(selected_scores),
            counts=address(counts),
            count=count,
            videos=videos,
        )
        module.soft_nms_select(
            buffers=buffers,
            current=address(current),
            best=address(best),
            seen=address(seen),
            options=options,
            blocks=min(videos, MOST_BLOCKS),
            stream=stream,
        )
        ends = counts.cumsum(0)
        module.soft_nms_collect(
            buffers=buffers,
            ends=address(ends),
            options=options,
            rows=found.indices.shape[0],
            out_indices=address(found.indices),
            out_segments=address(found.segments),
            out_scores=address(found.scores),
            out_count=address(found.num_kept),
            stream=stream,
        )
    return found
