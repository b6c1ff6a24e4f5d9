# SPDX-License-Identifier: Apache-2.0
"""Where in an action its evidence lies, judged by single input frames: what the sensitivity Gaussians can be fit to.

A detector's own predictions are a poor witness. Every point of its pyramid has seen the whole instance, so its class
probability is nearly the same throughout, and what is left of a profile follows the centre sampling it was trained
with: high in the middle, whatever the class. A classifier that sees one frame at a time cannot know the class or the
place from anywhere but that frame, so the frames it is sure of are those that show it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asl_fast.losses.sensitivity import ClassGaussians, instance_groups, instance_labels, profile_misfit
from asl_fast.ops.assign_points import assign_points
from asl_fast.ops.ragged import RaggedTargets


class FrameEvidence(nn.Module):
    """A linear classifier on single frames, and the fit of the class Gaussians to what it finds.

    It tells C classes and the background apart, and the first half of an action from the second. A frame belongs to the
    shortest instance it lies in. Frames are normalised over their channels.

    Args:
        frame_dim: channels of an input frame.
        num_classes: C.
    """

    def __init__(self, frame_dim: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.classifier = nn.Linear(frame_dim, num_classes + 2)
        # At zero everything is equally likely everywhere: there is no profile before something is learned.
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (..., C + 1) of classes and, last, background; logit (...) of the second half; of frames (..., D)."""
        logits = self.classifier(F.layer_norm(frames, frames.shape[-1:]))
        return logits[..., :-1], logits[..., -1]

    def losses(
        self, frames: Tensor, mask: Tensor, targets: RaggedTargets, gaussians: ClassGaussians
    ) -> tuple[Tensor, Tensor]:
        """What teaches the classifier, and what teaches the Gaussians; neither reaches the other or the frames.

        p_cls is fit to the probability of the true class inside the instance, p_start to that of the first half within
        the first half, p_end to that of the second half within the second.

        Args:
            frames: (B, T, D), one per step of the feature grid, the first at time 0.
            mask: (B, T) bool, True where valid.
            targets: ground truth in feature-grid units.
            gaussians: fit.

        Returns:
            Cross-entropies, of the class as a mean over valid frames plus of the half as a mean over those inside an
            instance; and the shares of the variation within instances that the three Gaussians leave unexplained
            (:func:`asl_fast.losses.sensitivity.profile_misfit`), summed.

        Raises:
            ValueError: frames that do not fit the classifier or the mask.
        """
        wanted_dim = self.classifier.in_features
        if frames.dim() != 3 or frames.shape[-1] != wanted_dim or frames.shape[:2] != mask.shape:
            raise ValueError(
                f"frames must be (B, T, {wanted_dim}) with a mask (B, T), got {tuple(frames.shape)} and "
                f"{tuple(mask.shape)}"
            )
        frames = torch.where(mask[..., None], frames, 0.0).detach()
        dtype = gaussians.mu.dtype
        time = torch.arange(frames.shape[1], device=frames.device, dtype=dtype)
        zero = torch.zeros_like(time)
        points = torch.stack([time, zero, zero + torch.inf, zero + 1], -1)
        assigned = assign_points(points, targets, self.num_classes, center_sampling_radius=None)
        inside, distance = assigned.positive & mask, assigned.distance.to(dtype)
        label = instance_labels(targets.labels, assigned.instance)
        group = instance_groups(targets.labels, assigned.instance)
        late = distance > 0

        class_logits, late_logit = self(frames.to(dtype))
        wanted = torch.where(inside, label, self.num_classes)[..., None]
        true_class = torch.log_softmax(class_logits, -1).gather(-1, wanted)[..., 0]
        true_half = F.logsigmoid(torch.where(late, late_logit, -late_logit))
        cross_entropy = -torch.where(mask, true_class, 0.0).sum() / mask.sum().clamp(min=1)
        cross_entropy = cross_entropy - torch.where(inside, true_half, 0.0).sum() / inside.sum().clamp(min=1)

        quality = torch.stack([true_class, true_half, true_half]).exp()
        where = torch.stack([inside, inside & ~late, inside & late])
        p, instances = torch.stack(gaussians(distance, label)), len(targets.labels) + 1
        return cross_entropy, profile_misfit(p, quality, where, group, label, instances, self.num_classes).sum()
