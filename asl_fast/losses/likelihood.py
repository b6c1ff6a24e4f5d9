# SPDX-License-Identifier: Apache-2.0
"""The likelihood signal of mu and sigma: Gaussians fitted to where in an action the predictions are good."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from asl_fast.losses.inputs import LossInputs
from asl_fast.losses.peers import Peers
from asl_fast.losses.sensitivity import ClassGaussians, instance_groups, instance_labels, profile_misfit
from asl_fast.ops.assign_points import assign_points
from asl_fast.ops.quality import class_probability, offset_iou
from asl_fast.ops.ragged import RaggedTargets


def likelihood_misfit(
    given: LossInputs,
    targets: RaggedTargets,
    gaussians: ClassGaussians,
    branches: Sequence[str],
    peers: Peers | None = None,
) -> Tensor:
    """Return the misfit of the Gaussians to the quality of the predictions, summed over ``branches``.

    p_cls is fitted to the probability of the true class at the finest level's points inside each instance, whatever its
    length. p_start + p_end is fitted to the temporal IoU of the predicted segments at all points inside the instance on
    the levels whose range admits it. :func:`asl_fast.losses.sensitivity.profile_misfit` is the measure.

    Args:
        given: The detector's outputs, C classes; no gradient reaches them.
        targets: Ground truth in feature-grid units.
        gaussians: Of the C classes; they alone receive a gradient.
        branches: Which of "cls" and "loc" are fitted.
        peers: Processes with other videos of the same batch.

    Returns:
        Scalar, float32, or float64 where the logits are.
    """
    dtype = torch.float64 if given.logits.dtype == torch.float64 else torch.float32
    points, logits, offsets = given.points, given.logits.to(dtype), given.offsets.to(dtype)
    fit, classes = logits.new_zeros(()), logits.shape[-1]
    finest = given.masks[0].shape[1]
    # The finest level, with a range that admits every instance.
    finest_points = points[:finest].clone()
    finest_points[:, 1].zero_()
    finest_points[:, 2].fill_(torch.inf)
    for branch, where in (("cls", finest_points), ("loc", points)):
        if branch not in branches:
            continue
        assigned = assign_points(where, targets, classes, center_sampling_radius=None)
        inside = assigned.positive & given.mask[:, : len(where)]
        label = instance_labels(targets.labels, assigned.instance)
        instance = instance_groups(targets.labels, assigned.instance)
        p_cls, p_start, p_end = gaussians(assigned.distance.to(dtype), label)
        if branch == "cls":
            p, target_quality = p_cls, class_probability(logits[:, :finest], label)
        else:
            target = torch.where(inside[..., None], assigned.offsets.to(dtype), 1.0)
            p, target_quality = p_start + p_end, offset_iou(offsets, target)
        instances = len(targets.labels) + 1
        fit = fit + profile_misfit(p, target_quality, inside, instance, label, instances, classes, peers)
    return fit
