# SPDX-License-Identifier: Apache-2.0
"""The evidence signal of mu and sigma: Gaussians fitted to where single input frames show the action.

The detector's own predictions say little about that. Every point of its pyramid has seen the whole action, so its class
probability is nearly the same throughout, and what profile remains follows the centre sampling it was trained with:
high in the middle, whatever the class. A classifier that sees one frame at a time can know the class, and the place in
the action, from that frame alone. So the frames it is sure of are those that show the action.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asl_fast.losses.peers import Peers
from asl_fast.losses.sensitivity import ClassGaussians, instance_groups, instance_labels, profile_misfit
from asl_fast.ops.assign_points import assign_points
from asl_fast.ops.ragged import RaggedTargets

# Weight of the part of the fit that keeps mu_start and mu_end inside the action. A Gaussian whose centre lies beyond
# the boundary and a wide one at the boundary look alike from within, so the profile alone lets mu run away: of twelve
# classes with noiseless evidence, several ended at 0.8 for a true 0.45.
_BEYOND = 10.0


class FrameEvidence(nn.Module):
    """A linear classifier of single frames, and the fit of the class Gaussians to what it finds.

    It tells C classes and the background apart, and the first half of an action from the second. A frame belongs to the
    shortest instance that it lies in. Frames are normalised over their channels.

    Args:
        frame_dim: Channels of an input frame.
        num_classes: C.
    """

    def __init__(self, frame_dim: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.classifier = nn.Linear(frame_dim, num_classes + 2)
        # With zero weights everything is equally likely in every frame, so that nothing is fitted at first.
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Classify frames (..., frame_dim).

        Returns:
            Logits (..., C + 1) of the classes and, last, of background; logit (...) of the second half of an action.
        """
        logits = self.classifier(F.layer_norm(frames, frames.shape[-1:]))
        return logits[..., :-1], logits[..., -1]

    def losses(
        self,
        frames: Tensor,
        mask: Tensor,
        targets: RaggedTargets,
        gaussians: ClassGaussians,
        peers: Peers | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss that teaches the classifier and the one that teaches the Gaussians.

        No gradient of one reaches what the other teaches, and none reaches the frames. p_cls is fitted to the
        probability of the true class inside the instance, p_start to that of the first half within the first half,
        p_end to that of the second half within the second.

        Args:
            frames: (B, T, frame_dim), one per step of the feature grid, the first at time 0.
            mask: (B, T) bool, True where valid.
            targets: Ground truth in feature-grid units.
            gaussians: The ones to fit.
            peers: Processes with other videos of the same batch.

        Returns:
            The classifier's cross-entropies: of the class, a mean over valid frames, plus of the half, a mean over
            frames inside an instance. And the misfits of the three Gaussians, summed
            (:func:`asl_fast.losses.sensitivity.profile_misfit`), plus what holds mu_start and mu_end inside the action:
            10 times the mean over frames inside an instance of max(|mu| - 0.5, 0)². Both ().

        Raises:
            ValueError: Frames that do not fit the classifier or the mask.
        """
        frame_dim = self.classifier.in_features
        if frames.dim() != 3 or frames.shape[-1] != frame_dim or frames.shape[:2] != mask.shape:
            raise ValueError(
                f"frames must be (B, T, {frame_dim}) with a mask (B, T), got {tuple(frames.shape)} and "
                f"{tuple(mask.shape)}"
            )
        frames = torch.where(mask[..., None], frames, 0.0).detach()
        dtype = gaussians.mu_bias.dtype
        time = torch.arange(frames.shape[1], device=frames.device, dtype=dtype)
        zero = torch.zeros_like(time)
        points = torch.stack([time, zero, zero + torch.inf, zero + 1], -1)
        assigned = assign_points(points, targets, self.num_classes, center_sampling_radius=None)
        inside, distance = assigned.positive & mask, assigned.distance.to(dtype)
        label = instance_labels(targets.labels, assigned.instance)
        group = instance_groups(targets.labels, assigned.instance)
        late = distance > 0

        class_logits, late_logit = self(frames.to(dtype))
        true_label = torch.where(inside, label, self.num_classes)[..., None]
        true_class = torch.log_softmax(class_logits, -1).gather(-1, true_label)[..., 0]
        true_half = F.logsigmoid(torch.where(late, late_logit, -late_logit))
        sums = torch.stack([torch.where(mask, true_class, 0.0).sum(), torch.where(inside, true_half, 0.0).sum()])
        counts = torch.stack([mask.sum(), inside.sum()]).to(dtype)
        share = torch.zeros(self.num_classes, dtype=dtype, device=label.device)
        share = share.index_add(0, label.flatten(), inside.flatten().to(dtype))
        if peers is not None:
            sums, counts, share = peers.summed(sums), peers.total(counts), peers.total(share)
        cross_entropy = -(sums / counts.clamp(min=1)).sum()

        profiles = torch.stack([true_class, true_half, true_half]).exp()
        where = torch.stack([inside, inside & ~late, inside & late])
        p, instances = torch.stack(gaussians(distance, label)), len(targets.labels) + 1
        misfit = profile_misfit(p, profiles, where, group, label, instances, self.num_classes, peers).sum()
        beyond = F.relu(gaussians.mu[:, 1:].abs() - 0.5).square().mean(-1)
        return cross_entropy, misfit + _BEYOND * (beyond * share).sum() / share.sum().clamp(min=1)
