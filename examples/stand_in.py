# SPDX-License-Identifier: Apache-2.0
"""What the two stand-ins for foreign detectors share: a small pyramid, the plain loss, a plain NMS; slow and short."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES, CHANNELS, WIDTH, LEVELS, LONGEST = 5, 8, 16, 3, 64
RANGES = ((0.0, 4.0), (4.0, 8.0), (8.0, 10000.0))
MASK, WINDOW_FRAME, STRIDE_FRAME, FPS = -1e4, 16, 4, 30.0


class Pyramid(nn.Module):
    """Features at full, half and quarter rate: a convolution, then one of stride 2 for each level."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(CHANNELS, WIDTH, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1) for _ in range(LEVELS - 1))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the levels of (B, C, T), and their masks (B, 1, T_l)."""
        levels, masks = [F.relu(self.first(x)) * mask], [mask]
        for convolution in self.down:
            masks.append(masks[-1][..., ::2])
            levels.append(F.relu(convolution(levels[-1])) * masks[-1])
        return levels, masks


def points_of(levels: list[Tensor]) -> list[Tensor]:
    """Return (T_l, 4) time, range and stride of each level's points."""
    return [
        torch.stack([torch.tensor([t * 2.0**i, *RANGES[i], 2.0**i]) for t in range(level.shape[-1])])
        for i, level in enumerate(levels)
    ]


def plain_losses(
    logits: Tensor, offsets: Tensor, mask: Tensor, points: Tensor, truth: list[tuple[Tensor, Tensor]], radius: float
) -> tuple[Tensor, Tensor, int]:
    """Return the sums of the focal loss and of the DIoU loss of a batch, and how many points are positive.

    Args:
        logits: (B, P, C).
        offsets: (B, P, 2).
        mask: (B, P) bool.
        points: (P, 4).
        truth: Per video segments (G, 2) and labels (G,).
        radius: Points within this many strides of an action's centre are positive.
    """
    time, low, high, stride = points.unbind(-1)
    focal, location, positives = logits.sum() * 0, offsets.sum() * 0, 0
    for video, (segments, labels) in enumerate(truth):
        valid, target = mask[video], torch.zeros_like(logits[video])
        wanted, positive = torch.zeros_like(offsets[video]), torch.zeros_like(valid)
        # The longest first, so that the shortest action at a point has the last word.
        for i in (segments[:, 0] - segments[:, 1]).argsort().tolist():
            start, end = segments[i]
            far = radius * stride
            centre = (start + end) / 2
            inside = (time > torch.maximum(start, centre - far)) & (time < torch.minimum(end, centre + far))
            longest = torch.maximum(time - start, end - time)
            chosen = inside & (longest >= low) & (longest <= high)
            target[chosen] = F.one_hot(labels[i], logits.shape[-1]).to(logits.dtype)
            wanted[chosen] = (torch.stack((time - start, end - time), -1) / stride[:, None])[chosen]
            positive |= chosen
        positive &= valid
        probability = logits[video].sigmoid()
        hit = torch.where(target > 0, probability, 1 - probability)
        balance = torch.where(target > 0, 0.25, 0.75)
        entropy = F.binary_cross_entropy_with_logits(logits[video], target, reduction="none")
        focal = focal + (balance * (1 - hit) ** 2 * entropy)[valid].sum()
        found, wanted = offsets[video][positive], wanted[positive]
        shared = torch.minimum(found, wanted).sum(-1)
        whole = torch.maximum(found, wanted).sum(-1)
        centres = ((found[:, 1] - found[:, 0]) - (wanted[:, 1] - wanted[:, 0])) / 2
        iou = shared / (found.sum(-1) + wanted.sum(-1) - shared).clamp(min=1e-8)
        location = location + (1 - iou + (centres / whole.clamp(min=1e-8)) ** 2).sum()
        positives += int(positive.sum())
    return focal, location, positives


def plain_nms(
    segments: Tensor, scores: Tensor, labels: Tensor, *, sigma: float, min_score: float, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian soft-NMS of each class, one pick after the other."""
    picks: list[tuple[Any, ...]] = []
    for label in sorted(set(labels.tolist())):
        rest, left = segments[labels == label], scores[labels == label].clone()
        for pick in range(len(rest)):
            best = int(left.argmax())
            if pick and left[best] < min_score:
                break
            picks.append((float(left[best]), rest[best], label))
            shared = torch.minimum(rest[:, 1], rest[best, 1]) - torch.maximum(rest[:, 0], rest[best, 0])
            shared = (shared + 1e-6).clamp(min=0)
            lengths = rest[:, 1] - rest[:, 0] + 1e-6
            iou = shared / (lengths + lengths[best] - shared)
            left = left * torch.exp(-(iou**2) / sigma)
            left[best] = -1.0
    picks = sorted(picks, key=lambda pick: -pick[0])[:most]
    if not picks:
        return segments[:0], scores[:0], labels[:0]
    found, kept, classes = zip(*picks, strict=True)
    return torch.stack(kept), torch.tensor(found), torch.tensor(classes)


def candidates(logits: Tensor, offsets: Tensor, mask: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return segments, scores and classes of one video's valid points: each in its best class, as there are few."""
    scores, labels = logits[mask].sigmoid().max(-1)
    at = points[mask]
    segments = torch.stack((at[:, 0] - offsets[mask][:, 0] * at[:, 3], at[:, 0] + offsets[mask][:, 1] * at[:, 3]), -1)
    long = segments[:, 1] - segments[:, 0] > 0.05
    return segments[long], scores[long], labels[long]


def sorted_by_name(model: nn.Module, *, rate: float, decay: float) -> list[dict[str, Any]]:
    """Sort parameters as the optimisers of both projects do: by the ends of their names, and none may be left."""
    groups: dict[str, list[nn.Parameter]] = {"weight": [], "bias": []}
    for name, parameter in model.named_parameters():
        groups[name.rpartition(".")[2].rpartition("_")[2]].append(parameter)
    return [
        {"params": groups["weight"], "weight_decay": decay, "lr": rate},
        {"params": groups["bias"], "weight_decay": 0.0, "lr": rate},
    ]
