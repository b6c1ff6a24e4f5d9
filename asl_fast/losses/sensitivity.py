# SPDX-License-Identifier: Apache-2.0
"""Action Sensitivity Evaluator (Shao et al., ICCV 2023, section 3.2): which moments of an action matter.

The class level (:class:`ClassGaussians`) has learnable Gaussians per class over the position inside an action, the
instance level (:class:`InstanceEvaluator`) two small networks on the features. :class:`asl_fast.ASLLoss` makes weights
of the classification and localisation losses of them.

The Gaussians can learn from three things, which the option ``signal`` chooses between:

- "loss", the paper's choice: the gradient of the weighted losses. A weighted loss is low where the large weights lie on
  points that are easy already. So mu and sigma move to where the loss is small, which need not be where the action
  shows; on HAPT, mu_start and mu_end drift to the centre.
- "likelihood" (:mod:`asl_fast.losses.likelihood`): a fit to the quality of the predictions at each point. This cannot
  drift, but a point's prediction uses everything in its receptive field. The quality is therefore nearly the same
  throughout an action, and a little higher in the middle, where centre sampling places the positives.
- "evidence" (:mod:`asl_fast.losses.evidence`): a fit to how sure a linear classifier of single input frames is of the
  class, and of the half of the action for start and end. It finds where the action shows, whatever the detector does.

On the synthetic twin of MultiTHUMOS, whose true mu is known (smoke preset, 12 classes), the learned mu of the class
correlates with the true one to 0.74 under "likelihood" and to 0.90 under "evidence"; mu of start and end to 0.2 and
-0.1 against 0.67 and 0.63. With 40 classes "evidence" reaches 0.90, 0.47 and 0.56: the true mu of start and end lie
within 0.2 instance lengths, which leaves little to tell apart. The data hold more: who knew the directions of the
evidence would find mu of start and end to 0.99 (``python -m benchmarks.recovery_bound``). Fitting the Gaussians to the
noiseless evidence of the twin gives 0.8 and 0.9; the rest is lost by the classifier, which has to learn those
directions from the same recordings: neither more epochs nor faster Gaussians nor a classifier of halves for every class
find more (docs/results.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asl_fast.layers.convolution import convolve
from asl_fast.layers.joined_levels import join_levels
from asl_fast.losses.former_names import with_present_names
from asl_fast.losses.peers import Peers
from asl_fast.ops.gaussians import RawGaussians

MU_INIT = (0.0, -0.5, 0.5)
# Keeps bounded values strictly inside their bounds after rounding.
_INSIDE = 1.0 - 1e-6
# s atan(raw / s) stays within s pi / 2: the scale s of a bound 1. It is an arc tangent because the gradient of that
# fades slowly, like 1 / raw², so that an adaptive optimiser can always walk back. The gradients of tanh and of a clamp
# become exactly zero.
_SCALE_OF_BOUND = _INSIDE * 2 / math.pi
# Keeps the fit defined where p is constant within every instance of a class.
_LEAST_VARIANCE = 1e-4


def instance_groups(labels: Tensor, instance: Tensor) -> Tensor:
    """Return the instance of each point, with background as one more instance.

    Args:
        labels: (G,) int64 classes of the instances.
        instance: (B, P) int64 in [-1, G), -1 on background.

    Returns:
        (B, P) int64 in [0, G], G on background.
    """
    return torch.where(instance < 0, labels.shape[0], instance)


def instance_labels(labels: Tensor, instance: Tensor) -> Tensor:
    """Return the class of each point's instance.

    Args:
        labels: (G,) int64 classes of the instances.
        instance: (B, P) int64 in [-1, G), -1 on background.

    Returns:
        (B, P) int64, 0 on background.
    """
    with_background = torch.cat([labels, labels.new_zeros(1)])
    return with_background.index_select(0, instance_groups(labels, instance).flatten()).view_as(instance)


def profile_misfit(
    p: Tensor,
    profile: Tensor,
    inside: Tensor,
    instance: Tensor,
    label: Tensor,
    num_instances: int,
    num_classes: int,
    peers: Peers | None = None,
) -> Tensor:
    """Return the share of the variation of a profile within instances that p does not explain.

    This is the negative log-likelihood, up to its scale, of ``profile = a_i + b_c p(x) + Gaussian noise`` with the best
    level a_i of each instance and the best amplitude b_c of each class, which have a closed form:

        1 - sum over classes of cov_c |cov_c| / var_p,c / sum over classes of var_profile,c

    Covariance and variances are summed over the instances of a class, each about its own mean. So neither the level nor
    the amplitude of the profile matters, and an instance with a flat profile counts little. A negative amplitude, which
    says that p is large where the profile is small, counts against p.

    Args:
        p: (..., B, P) sensitivities, with gradient. Leading dimensions hold several profiles of the same points, each
            of which is fitted by itself.
        profile: (..., B, P) what p is to have, treated as a constant.
        inside: (..., B, P) bool, True for points that count.
        instance: (B, P) int64 in [0, num_instances), of each point.
        label: (B, P) int64 in [0, num_classes), of each point's instance.
        num_instances: Number of instances, that of background included.
        num_classes: Number of classes.
        peers: Processes with other instances that count as well; every instance is whole on one of them.

    Returns:
        (...) in [0, 2]; 0 where p explains the profile, 1 where it is of no use.
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

    shape, target = deviation(p), deviation(profile.detach().to(p.dtype))
    covariance, variance = per_class(shape * target), per_class(shape**2)
    total = (target**2).sum(-1, keepdim=True)
    if peers is not None:
        sums = peers.summed(torch.cat([covariance, variance, total], -1))
        covariance, variance, total = sums[..., :num_classes], sums[..., num_classes:-1], sums[..., -1:]
    total = total.squeeze(-1)
    explained = (covariance * covariance.abs() / (variance + _LEAST_VARIANCE)).sum(-1)
    return torch.where(total > 0, 1 - explained / total.clamp(min=_LEAST_VARIANCE), 0.0 * explained)


class ClassGaussians(nn.Module):
    """Learnable Gaussians of the sensitivity, three per class: classification, start, end (columns 0, 1, 2).

    :class:`asl_fast.ops.gaussians.RawGaussians` states how the parameters become mu and sigma, smoothly and within
    bounds, so that every value of the parameters is legal and no gradient vanishes. With b = ``mu_bound``, mu_cls
    starts at 0 and stays in (-b, b), mu_start starts at -0.5 and stays in (-0.5 - b, -0.5 + b), mu_end starts at 0.5
    and stays in (0.5 - b, 0.5 + b).

    Args:
        num_classes: C.
        mu_bound: Largest distance of mu from its initial value, in instance lengths.
        sigma_min: Lower bound of sigma, in instance lengths; keeps p from collapsing to 0.
        sigma_max: Upper bound of sigma, in instance lengths; the paper's is 5.
        sigma_init: Initial sigma, in instance lengths.

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
        # Optimisers that sort parameters by the ends of their names (ActionFormer's, OpenTAD's) let no "bias" decay.
        self.mu_bias = nn.Parameter(torch.zeros(num_classes, 3))
        self.sigma_bias = nn.Parameter(torch.zeros(num_classes, 3))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        own = {name: value for name, value in state_dict.items() if name.startswith(prefix)}
        for name in own:
            del state_dict[name]
        state_dict.update(with_present_names(own))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def mu(self) -> Tensor:
        """(C, 3) centres [cls, start, end], in instance lengths from the instance's centre."""
        return self.raw(learned=True).tables()[0]

    @property
    def sigma(self) -> Tensor:
        """(C, 3) widths [cls, start, end], in instance lengths."""
        return self.raw(learned=True).tables()[1]

    def raw(self, *, learned: bool) -> RawGaussians:
        """Return the parameters as :func:`asl_fast.ops.detection_loss.detection_loss` takes them.

        Args:
            learned: Whether a gradient reaches them.
        """
        mu, sigma = (self.mu_bias, self.sigma_bias) if learned else (self.mu_bias.detach(), self.sigma_bias.detach())
        # How far log sigma may fall and rise.
        below, above = math.log(self.sigma_init / self.sigma_min), math.log(self.sigma_max / self.sigma_init)
        return RawGaussians(
            mu,
            sigma,
            mu_init=MU_INIT,
            mu_scale=self.mu_bound * _SCALE_OF_BOUND,
            sigma_init=self.sigma_init,
            sigma_scales=(below * _SCALE_OF_BOUND, above * _SCALE_OF_BOUND),
        )

    def forward(self, distance: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sensitivities of points.

        Args:
            distance: (...) signed distances d(x) to the centre of each point's instance, in instance lengths.
            labels: (...) int64 in [0, C), class of each point's instance.

        Returns:
            Three tensors (...) in the dtype of ``distance``: p_cls, p_start and p_end; the paper's p_loc is the sum of
            the last two.
        """
        p_cls, p_start, p_end = self.raw(learned=True).sensitivities(distance, labels).unbind(-1)
        return p_cls, p_start, p_end

    def extra_repr(self) -> str:
        """Return what ``print`` shows of the module."""
        return (
            f"{self.num_classes}, mu_bound={self.mu_bound}, sigma_min={self.sigma_min}, "
            f"sigma_max={self.sigma_max}, sigma_init={self.sigma_init}"
        )


class InstanceEvaluator(nn.Module):
    """Instance-level sensitivity q: per branch a temporal convolution, ReLU, a linear layer and a sigmoid.

    One set of weights serves all pyramid levels. The branches share one call of the convolution but no weight.

    Args:
        feature_dim: D.
        branches: Number of independent networks; the paper has two, classification and localisation.
        hidden_dim: Channels of each branch's convolution; D / 4, at least 8, when None.
        kernel_size: Odd width of the convolution, in grid steps of each level.

    Raises:
        ValueError: Even ``kernel_size`` or a size below 1.
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

    def forward(self, features: Sequence[Tensor], masks: Sequence[Tensor], gap: int = 0) -> Tensor:
        """Predict the quality of the detector's predictions at every point of every level.

        Args:
            features: Per level (B, T_l, D).
            masks: Per level (B, T_l) bool, True where valid; masked features count as 0.
            gap: Places between each two levels in the result.

        Returns:
            (B, P, branches) in (0, 1), levels concatenated; 0 where masked and between the levels.
        """
        joined = join_levels(features, masks, max(self.gap, gap))
        valid = joined.mask[..., None]
        inputs = torch.where(valid, joined.x, 0.0).to(self.conv.weight.dtype)
        hidden = F.relu(convolve(inputs, self.conv.weight, self.conv.bias))
        parts = hidden.chunk(len(self.outputs), -1)
        logits = torch.cat([output(part) for output, part in zip(self.outputs, parts, strict=True)], -1)
        return joined.with_gap(torch.where(valid, torch.sigmoid(logits), 0.0), gap)
