# SPDX-License-Identifier: Apache-2.0
"""Action Sensitivity Evaluator (Shao et al., ICCV 2023, section 3.2): which moments of an instance matter.

The class level holds learnable Gaussians over the position inside an instance, the instance level two small networks on
the features. :class:`asl_fast.ASLLoss` combines them into the weights of the classification and localisation losses.

What the Gaussians learn from is a choice, ``signal``:

- "loss", the paper's: the gradient of the weighted losses. A loss is lower where its weights are large on points that
  are easy already, so mu and sigma move to where the loss is small and not to where the action shows; on HAPT, mu_start
  and mu_end drift to the centre.
- "likelihood": a fit to the quality of the predictions at each point. Nothing can run away, but a point's prediction
  rests on all that its receptive field has seen, so the profile is nearly flat, and higher in the middle, where centre
  sampling places the positives.
- "evidence" (:mod:`asl_fast.losses.evidence`): a fit to how sure a linear classifier of single input frames is of the
  class, and of the half of the action, for start and end. It asks where the evidence is and not where the detector does
  well.

On the synthetic twin of MultiTHUMOS (smoke preset, 12 classes) the learned mu of the class evidence correlates with the
planted one to 0.74 under "likelihood" and to 0.90 under "evidence", those of start and end to 0.2 and -0.1 against 0.67
and 0.76. With 40 classes "evidence" reaches 0.90, 0.47 and 0.56; boundary evidence is planted within 0.2 instance
lengths, which leaves little to tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asl_fast.layers.convolution import convolve
from asl_fast.layers.joined_levels import join_levels
from asl_fast.ops.detection_loss import RawGaussians

MU_INIT = (0.0, -0.5, 0.5)
_INSIDE = 1.0 - 1e-6
# Keeps the fit defined where p is constant within every instance of a class.
_LEAST_VARIANCE = 1e-4


def bounded(raw: Tensor, below: float, above: float) -> Tensor:
    """Squash ``raw`` smoothly into (-below, above); 0 maps to 0 with slope 1.

    An arc tangent: its gradient fades like 1/raw², so an adaptive optimiser can always walk back; the gradients of
    tanh and of a clamp become exactly zero.
    """
    scale = torch.full_like(raw, above).masked_fill(raw < 0, below) * (_INSIDE * 2 / math.pi)
    return scale * torch.atan(raw / scale)


def gaussian(distance: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """exp(-(d - mu)² / (2 sigma²)), the sensitivity of a point at signed distance ``d`` from the instance's centre.

    Args:
        distance: (...), in instance lengths, within [-0.5, 0.5] inside the instance.
        mu: broadcastable to ``distance``, in instance lengths.
        sigma: broadcastable to ``distance``, in instance lengths, positive.
    """
    return torch.exp(-0.5 * ((distance - mu) / sigma) ** 2)


def offset_iou(predicted: Tensor, target: Tensor) -> Tensor:
    """Temporal IoU of two segments given as non-negative distances (..., 2) to start and end from a common point.

    Returns:
        (...), 0 where both segments have length zero.
    """
    intersection = torch.minimum(predicted, target).sum(-1).clamp(min=0)
    union = torch.maximum(predicted, target).sum(-1)
    return intersection / union.clamp(min=torch.finfo(union.dtype).eps)


def instance_groups(labels: Tensor, instance: Tensor) -> Tensor:
    """Instance of each point with background as a group of its own: (B, P) in [0, G] from (B, P) in [-1, G)."""
    return torch.where(instance < 0, labels.shape[0], instance)


def instance_labels(labels: Tensor, instance: Tensor) -> Tensor:
    """(B, P) class of each point's instance; 0 on background. Labels are (G,) int64, ``instance`` -1 on background."""
    with_background = torch.cat([labels, labels.new_zeros(1)])
    return with_background.index_select(0, instance_groups(labels, instance).flatten()).view_as(instance)


def class_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, P) sigmoid of the logit (B, P, C) of one class (B, P) per point."""
    return torch.sigmoid(logits.gather(-1, labels[..., None])[..., 0])


def profile_misfit(
    p: Tensor, quality: Tensor, inside: Tensor, instance: Tensor, label: Tensor, num_instances: int, num_classes: int
) -> Tensor:
    """Share of the variation of the quality within instances that p does not explain, in [0, 2]; 1 when p is no use.

    Leading dimensions hold profiles of the same points, each fitted by itself.

    The negative log-likelihood, up to scale, of ``quality = a_i + b_c p(x) + Gaussian noise`` at its best a_i and b_c,
    one level a_i per instance and one amplitude b_c per class, which are found in closed form:

        1 - sum over classes of cov_c |cov_c| / var_p,c / sum over classes of var_Q,c

    with covariance and variances summed over the instances of a class, each about its own mean. Neither the level nor
    the amplitude of the quality matters, and weakly shown instances count little. A negative amplitude counts against.

    Args:
        p: (..., B, P) sensitivities with gradient.
        quality: (..., B, P), treated as constant.
        inside: (..., B, P) bool, points that count.
        instance: (B, P) int64 in [0, num_instances), of each point.
        label: (B, P) int64 in [0, num_classes), of each point's instance.
        num_instances: length of the table of instances.
        num_classes: length of the table of classes.

    Returns:
        (...).
    """
    weight = inside.to(p.dtype).flatten(-2)
    row, column, profiles = instance.flatten(), label.flatten(), p.shape[:-2]
    count = p.new_zeros(*profiles, num_instances).index_add(-1, row, weight).clamp(min=1)

    def deviation(values: Tensor) -> Tensor:
        values = torch.where(inside, values, 0.0).flatten(-2)
        mean = p.new_zeros(*profiles, num_instances).index_add(-1, row, values) / count
        return (values - mean.index_select(-1, row)) * weight

    def per_class(values: Tensor) -> Tensor:
        return p.new_zeros(*profiles, num_classes).index_add(-1, column, values)

    shape, target = deviation(p), deviation(quality.detach().to(p.dtype))
    covariance, variance = per_class(shape * target), per_class(shape**2)
    explained = (covariance * covariance.abs() / (variance + _LEAST_VARIANCE)).sum(-1)
    total = (target**2).sum(-1)
    return torch.where(total > 0, 1 - explained / total.clamp(min=_LEAST_VARIANCE), 0.0 * explained)


class ClassGaussians(nn.Module):
    """Learnable sensitivity Gaussians, three per class: classification, start, end (columns 0, 1, 2).

    mu = mu_init + bounded(raw), sigma = sigma_init * exp(bounded(raw)): every value of the raw parameters is legal, the
    initial values (mu 0, -0.5, 0.5 and sigma 1) are interior points with slope 1, and no gradient ever vanishes. So
    mu_cls stays in (-b, b), mu_start in (-0.5-b, -0.5+b), mu_end in (0.5-b, 0.5+b) with b = ``mu_bound`` and
    sigma in (sigma_min, sigma_max).

    Args:
        num_classes: C.
        mu_bound: largest distance of mu from its initial value, in instance lengths.
        sigma_min: lower bound of sigma, in instance lengths; keeps p from collapsing to 0.
        sigma_max: upper bound of sigma; the paper's clamp is 5.
        sigma_init: initial sigma.

    Raises:
        ValueError: ``num_classes < 1``, ``mu_bound <= 0`` or not ``0 < sigma_min < sigma_init < sigma_max``.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        mu_bound: float = 0.5,
        sigma_min: float = 0.1,
        sigma_max: float = 5.0,
        sigma_init: float = 1.0,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        if mu_bound <= 0:
            raise ValueError(f"mu_bound must be positive, got {mu_bound}")
        if not 0 < sigma_min < sigma_init < sigma_max:
            raise ValueError(f"need 0 < sigma_min < sigma_init < sigma_max, got {sigma_min}, {sigma_init}, {sigma_max}")
        self.num_classes = num_classes
        self.mu_bound, self.sigma_min, self.sigma_max, self.sigma_init = mu_bound, sigma_min, sigma_max, sigma_init
        self.raw_mu = nn.Parameter(torch.zeros(num_classes, 3))
        self.raw_sigma = nn.Parameter(torch.zeros(num_classes, 3))
        self.register_buffer("mu_init", torch.tensor(MU_INIT), persistent=False)
        self.mu_init: Tensor

    @property
    def mu(self) -> Tensor:
        """(C, 3) centres [cls, start, end], in instance lengths from the instance's centre."""
        return self.mu_init + bounded(self.raw_mu, self.mu_bound, self.mu_bound)

    @property
    def sigma(self) -> Tensor:
        """(C, 3) widths [cls, start, end], in instance lengths."""
        below, above = math.log(self.sigma_init / self.sigma_min), math.log(self.sigma_max / self.sigma_init)
        return self.sigma_init * torch.exp(bounded(self.raw_sigma, below, above))

    def raw(self, *, learned: bool) -> RawGaussians:
        """The parameters as :func:`asl_fast.ops.detection_loss` takes them; without gradient unless ``learned``."""
        mu, sigma = (self.raw_mu, self.raw_sigma) if learned else (self.raw_mu.detach(), self.raw_sigma.detach())
        quarter = _INSIDE * 2 / math.pi
        below, above = math.log(self.sigma_init / self.sigma_min), math.log(self.sigma_max / self.sigma_init)
        return RawGaussians(
            mu, sigma, MU_INIT, self.mu_bound * quarter, self.sigma_init, (below * quarter, above * quarter)
        )

    def forward(self, distance: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sensitivities of points.

        Args:
            distance: (...) d(x), in instance lengths.
            labels: (...) int64 in [0, C), class of each point's instance.

        Returns:
            p_cls, p_start, p_end, each (...), in the dtype of ``distance``; p_loc of the paper is p_start + p_end.
        """
        index = labels.reshape(-1)
        mu = self.mu.to(distance.dtype).index_select(0, index).view(*labels.shape, 3)
        sigma = self.sigma.to(distance.dtype).index_select(0, index).view(*labels.shape, 3)
        p_cls, p_start, p_end = gaussian(distance[..., None], mu, sigma).unbind(-1)
        return p_cls, p_start, p_end

    def extra_repr(self) -> str:
        return (
            f"{self.num_classes}, mu_bound={self.mu_bound}, sigma_min={self.sigma_min}, "
            f"sigma_max={self.sigma_max}, sigma_init={self.sigma_init}"
        )


class InstanceEvaluator(nn.Module):
    """Instance-level sensitivity: per branch a 1-D temporal convolution, ReLU, a linear layer and a sigmoid.

    One set of weights serves all pyramid levels; the branches share one convolution call but no weight.

    Args:
        feature_dim: D.
        branches: number of independent networks; the paper has two, classification and localisation.
        hidden_dim: channels of each branch's convolution; D / 4, at least 8, when None.
        kernel_size: odd width of the convolution in grid steps of each level.

    Raises:
        ValueError: even ``kernel_size`` or a size below 1.
    """

    def __init__(
        self, feature_dim: int, branches: int = 2, *, hidden_dim: int | None = None, kernel_size: int = 3
    ) -> None:
        super().__init__()
        hidden_dim = max(feature_dim // 4, 8) if hidden_dim is None else hidden_dim
        if min(feature_dim, branches, hidden_dim, kernel_size) < 1 or kernel_size % 2 == 0:
            raise ValueError(
                "feature_dim, branches, hidden_dim must be at least 1 and kernel_size odd, got "
                f"{feature_dim}, {branches}, {hidden_dim}, {kernel_size}"
            )
        self.gap = kernel_size // 2
        self.conv = nn.Conv1d(feature_dim, branches * hidden_dim, kernel_size)
        self.outputs = nn.ModuleList(nn.Linear(hidden_dim, 1) for _ in range(branches))

    def forward(self, features: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
        """Evaluate every point of every level.

        Args:
            features: per level (B, T_l, D).
            masks: per level (B, T_l) bool; masked features count as 0 and masked results are 0.

        Returns:
            (B, P, branches) in (0, 1), levels concatenated.
        """
        joined = join_levels(features, masks, self.gap)
        valid = joined.mask[..., None]
        hidden = F.relu(convolve(torch.where(valid, joined.x, 0.0), self.conv.weight, self.conv.bias))
        parts = hidden.chunk(len(self.outputs), -1)
        logits = torch.cat([output(part) for output, part in zip(self.outputs, parts, strict=True)], -1)
        return torch.cat(joined.split(torch.where(valid, torch.sigmoid(logits), 0.0)), 1)
