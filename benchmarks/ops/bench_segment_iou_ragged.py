# SPDX-License-Identifier: Apache-2.0
"""IoU and DIoU of proposals with the annotations of their video, many unequal videos at once, against other ways.

"padded" is the dense op on videos padded to the longest beforehand, "loop" the dense op video by video, "eager" that
loop in plain PyTorch. None of the three is timed for bringing its results into one flat tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asl_fast import backend, segment_diou, segment_diou_ragged, segment_iou, segment_iou_ragged
from asl_fast.reference.segment_iou import Operands
from asl_fast.reference.segment_iou import segment_iou as formula
from benchmarks.registry import Case, Scale, close

# Videos, and the fewest and most proposals and annotations of one.
SHAPES: tuple[tuple[int, tuple[int, int], tuple[int, int], Scale], ...] = (
    (3, (0, 30), (0, 5), "small"),
    (32, (50, 2_000), (1, 60), "real"),
    (1_000, (50, 2_000), (1, 60), "large"),
)

Result = tuple[list[Tensor], Tensor | None, Tensor | None]


class Videos(NamedTuple):
    """One batch, flat and padded, and 1 on the pairs of the padded one that are no padding."""

    a: Tensor
    b: Tensor
    a_video_offsets: Tensor
    b_video_offsets: Tensor
    a_padded: Tensor
    b_padded: Tensor
    inside: Tensor


def cases(device: str) -> list[Case]:
    """Declare both measures, with and without gradients of both sides."""
    return [
        _case(device, shape, distance, backward)
        for shape in SHAPES
        for distance in (False, True)
        for backward in (False, True)
    ]


def _case(
    device: str, shape: tuple[int, tuple[int, int], tuple[int, int], Scale], distance: bool, backward: bool
) -> Case:
    count, of_a, of_b, scale = shape
    generator = torch.Generator().manual_seed(count)
    n, m = (torch.randint(low, high + 1, (count,), generator=generator).tolist() for low, high in (of_a, of_b))
    pairs = sum(x * y for x, y in zip(n, m, strict=True))
    ragged, dense = (segment_diou_ragged, segment_diou) if distance else (segment_iou_ragged, segment_iou)

    def make_inputs() -> Videos:
        (a, a_video_offsets, a_padded), (b, b_video_offsets, b_padded) = (
            _segments(counts, seed) for seed, counts in enumerate((n, m))
        )
        inside = (_first(n, a_padded.shape[1])[:, :, None] & _first(m, b_padded.shape[1])[:, None]).float()
        batch = Videos(a, b, a_video_offsets, b_video_offsets, a_padded, b_padded, inside)
        leaves = {name: getattr(batch, name).to(device) for name in batch._fields}
        for name in ("a", "b", "a_padded", "b_padded"):
            leaves[name].requires_grad_(backward)
        return Videos(**leaves)

    def finish(values: Sequence[Tensor], a: Tensor, b: Tensor, grad: Tensor | None = None) -> Result:
        a.grad = b.grad = None
        if backward:
            torch.autograd.backward(values, [torch.ones_like(x) if grad is None else grad for x in values])
        return [x.detach() for x in values], a.grad, b.grad

    def run(a: Tensor, b: Tensor, a_video_offsets: Tensor, b_video_offsets: Tensor, *_: Tensor) -> Result:
        return finish([ragged(a, b, a_video_offsets, b_video_offsets, max_pairs=pairs).values], a, b)

    def padded(*videos: Tensor) -> Result:
        a, b, inside = videos[4:]
        return finish([dense(a, b)], a, b, inside)

    def video_by_video(of: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Result]:
        def loop(a: Tensor, b: Tensor, *_: Tensor) -> Result:
            return finish([of(x, y) for x, y in zip(a.split(n), b.split(m), strict=True)], a, b)

        return loop

    def eager(x: Tensor, y: Tensor) -> Tensor:
        return formula(Operands(a=x, b=y, aligned=False, distance=distance)).iou

    def reference(*videos: Tensor) -> Result:
        with backend("reference"):
            return run(*videos)

    def agree(ours: Result, theirs: Result) -> None:
        if len(theirs[0]) == 1 and theirs[0][0].dim() == 3:
            theirs = _unpadded(theirs, n, m)
        flat = [torch.cat([x.flatten() for x in side[0]]) for side in (ours, theirs)]
        close(1e-3, 1e-4)([flat[0], *ours[1:]], [flat[1], *theirs[1:]])

    moved = 4 * pairs * (2 if backward else 1) + 8 * (sum(n) + sum(m)) * (3 if backward else 1)
    sizes = f"{count:,} videos, {sum(n):,} x {sum(m):,} segments, {pairs:,} pairs"
    name = f"{ragged.__name__} {sizes}{', backward' if backward else ''}"
    baselines = {
        "padded": padded,
        "loop": video_by_video(dense),
        "eager": video_by_video(eager),
        "reference": reference,
    }
    return Case(name, make_inputs, run, baselines, moved, scale=scale, compiled=None, agree=agree)


def _segments(counts: Sequence[int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw (N, 2) of all videos, (B + 1,) offsets, and (B, longest, 2).

    The two sides lie on grids that never meet: of segments that only touch, PyTorch's clamp has the other derivative.
    """
    generator = torch.Generator().manual_seed(seed)
    start = 2_000 * torch.rand(sum(counts), generator=generator)
    flat = torch.stack((start, start + 0.5 + 60 * torch.rand(sum(counts), generator=generator)), dim=-1)
    flat = (flat * 512).round() / 512 + seed / 1024
    return flat, torch.tensor([0, *counts]).cumsum(0), pad_sequence(flat.split(counts), batch_first=True)


def _first(counts: Sequence[int], longest: int) -> Tensor:
    """Return (B, longest), whether a place is one of the first of its video."""
    return torch.arange(longest) < torch.tensor(counts)[:, None]


def _unpadded(padded: Result, n: Sequence[int], m: Sequence[int]) -> Result:
    """Return what is not padding, video after video."""

    def rows(side: Tensor | None, counts: Sequence[int]) -> Tensor | None:
        return None if side is None else torch.cat([x[:count] for x, count in zip(side, counts, strict=True)])

    values = [x[:rows, :columns] for x, rows, columns in zip(padded[0][0], n, m, strict=True)]
    return values, rows(padded[1], n), rows(padded[2], m)
