# SPDX-License-Identifier: Apache-2.0
"""The training loss of Action Sensitivity Learning for any anchor-free temporal detector (Shao et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from asl_fast.losses.evidence import FrameEvidence
from asl_fast.losses.inputs import Levels, LossInputs, join_levels
from asl_fast.losses.likelihood import likelihood_misfit
from asl_fast.losses.sensitivity import (
    ClassGaussians,
    InstanceEvaluator,
    class_probability,
    instance_groups,
    instance_labels,
    mean_one,
    offset_iou,
)
from asl_fast.ops import _dispatch
from asl_fast.ops.assign_points import PointAssignment, assign_points
from asl_fast.ops.contrastive_similarity import add_contrastive_similarity_loss
from asl_fast.ops.detection_loss import detection_loss
from asl_fast.ops.diou_loss import diou_loss
from asl_fast.ops.ragged import RaggedTargets as RaggedTargets  # what callers pass in
from asl_fast.ops.sensitivity_focal_loss import sensitivity_focal_loss

Normalization = Literal["none", "batch", "instance"]
Signal = Literal["loss", "likelihood", "evidence"]
Branch = Literal["cls", "loc"]


class ASLLoss(nn.Module):
    """ActionFormer's loss with positives weighted by action sensitivity, plus the contrastive loss.

        h_cls = p_cls + q_cls, h_loc = p_start + p_end + q_loc       (q detached; a switched-off part adds nothing)
        cls   = (sum over positives w(h_cls) Focal + sum over background Focal) / N
        loc   =  sum over positives w(h_loc) DIoU / N
        sensitivity = mean over positives of (q_cls - sigmoid(logit of the class))² + (q_loc - tIoU)², targets detached
        total = cls + location_weight loc + sensitivity + fit + contrastive_weight contrastive

    N is the moving average of the number of positives (momentum ``loss_norm_momentum``), kept in a buffer and updated
    by training forward passes with gradients enabled. With ``class_level``, ``instance_level`` and ``contrastive`` off
    this is ActionFormer's loss. Where instances of equal length share a point, the first gives d(x) and the Gaussians.

    Args:
        num_classes: C.
        feature_dim: D of the pyramid features.
        frame_dim: channels of the detector's input frames; ``signal="evidence"`` alone needs it.
        class_level: use the per-class Gaussians p.
        instance_level: use the evaluator networks q.
        contrastive: add the Action Sensitive Contrastive Loss on the finest level.
        branches: sub-tasks whose positives are weighted.
        constant_weights: (h_cls, h_loc) for every positive instead of p + q, as they are: the control that any gain of
            the evaluator has to beat. Needs ``class_level`` and ``instance_level`` off.
        normalization: w(h). "none" is the paper's h; "batch" scales the positives of a batch to mean 1, "instance"
            those of each instance, so that the loss cannot be lowered by shrinking every weight.
        signal: what mu and sigma learn from; all but "loss" cut the gradient through h and the contrastive loss, report
            theirs as ``fit`` and want a learning rate of 0.01 to 0.03 of their own. :mod:`.sensitivity` says
            what each finds. "loss" is the paper: the gradient of the weighted losses through h. "likelihood" fits the
            Gaussians to the detached quality of the predictions (:mod:`asl_fast.losses.likelihood`): p_cls to
            sigmoid(s_x[c]) of the finest level's points inside each instance, whatever its length, p_start + p_end to
            the tIoU of all points inside on the levels whose range admits the instance. "evidence" fits them to what a
            linear classifier of single input frames finds (:mod:`asl_fast.losses.evidence`), which is trained
            along; it needs ``frame_dim`` and the frames.
        center_sampling_radius: in strides; None makes every point inside an instance a candidate.
        label_smoothing: of the focal loss's targets, y (1 - s) + s / (C + 1).
        init_loss_norm: initial N.
        loss_norm_momentum: momentum of N.
        location_weight: factor of ``loc``; "auto", or a number <= 0, is cls / max(loc, 0.01), treated as constant.
        contrastive_weight: lambda of the paper.
        delta: half width of the contrastive loss's frame ranges, in instance lengths.
        temperature: of the contrastive loss.
        sigma_min: lower bound of sigma; the upper bound is ``sigma_max``.
        mu_bound: largest distance of mu from its initial value, in instance lengths.
        evaluator_dim: hidden channels of each evaluator network; D / 4 when None.
        evaluator_kernel_size: odd width of its convolution.

    Raises:
        ValueError: an argument outside its range.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        frame_dim: int | None = None,
        *,
        class_level: bool = True,
        instance_level: bool = True,
        contrastive: bool = True,
        branches: Sequence[Branch] = ("cls", "loc"),
        constant_weights: tuple[float, float] | None = None,
        normalization: Normalization = "batch",
        signal: Signal = "loss",
        center_sampling_radius: float | None = 1.5,
        label_smoothing: float = 0.0,
        init_loss_norm: float = 100.0,
        loss_norm_momentum: float = 0.9,
        location_weight: float | Literal["auto"] = 1.0,
        contrastive_weight: float = 0.3,
        delta: float = 0.2,
        temperature: float = 0.07,
        sigma_min: float = 0.1,
        sigma_max: float = 5.0,
        mu_bound: float = 0.5,
        evaluator_dim: int | None = None,
        evaluator_kernel_size: int = 3,
    ) -> None:
        super().__init__()
        if normalization not in ("none", "batch", "instance"):
            raise ValueError(f'normalization must be "none", "batch" or "instance", got {normalization!r}')
        if signal not in ("loss", "likelihood", "evidence"):
            raise ValueError(f'signal must be "loss", "likelihood" or "evidence", got {signal!r}')
        if signal == "evidence" and class_level and frame_dim is None:
            raise ValueError('signal="evidence" learns from the input frames: give their number of channels, frame_dim')
        if not set(branches) <= {"cls", "loc"}:
            raise ValueError(f'branches may hold "cls" and "loc", got {tuple(branches)!r}')
        if constant_weights is not None and (class_level or instance_level):
            raise ValueError("constant_weights is the control without evaluator: set class_level=instance_level=False")
        if location_weight != "auto" and not isinstance(location_weight, (int, float)):
            raise ValueError(f'location_weight must be a number or "auto", got {location_weight!r}')
        if not 0 <= label_smoothing < 1 or not 0 <= loss_norm_momentum <= 1 or not init_loss_norm > 0:
            raise ValueError(
                "need 0 <= label_smoothing < 1, 0 <= loss_norm_momentum <= 1 and init_loss_norm > 0, got "
                f"{label_smoothing}, {loss_norm_momentum} and {init_loss_norm}"
            )
        self.num_classes = num_classes
        self.branches = tuple(branches)
        self.constant_weights = constant_weights
        self.normalization, self.signal = normalization, signal
        self.center_sampling_radius, self.label_smoothing = center_sampling_radius, label_smoothing
        self.loss_norm_momentum = loss_norm_momentum
        self.location_weight = 0.0 if location_weight == "auto" else float(location_weight)
        self.contrastive_weight, self.delta, self.temperature = contrastive_weight, delta, temperature
        self.class_level, self.contrastive = class_level, contrastive
        self.gaussians: ClassGaussians | None = None
        if class_level or contrastive:
            self.gaussians = ClassGaussians(num_classes, mu_bound=mu_bound, sigma_min=sigma_min, sigma_max=sigma_max)
            # Without the class level the contrastive loss looks around the initial, fixed Gaussians.
            self.gaussians.requires_grad_(class_level)
        self.evaluator: InstanceEvaluator | None = None
        if instance_level and self.branches:
            self.evaluator = InstanceEvaluator(
                feature_dim, len(self.branches), hidden_dim=evaluator_dim, kernel_size=evaluator_kernel_size
            )
        self.evidence: FrameEvidence | None = None
        if signal == "evidence" and class_level and frame_dim is not None:
            self.evidence = FrameEvidence(frame_dim, num_classes)
        self.register_buffer("loss_normalizer", torch.tensor(float(init_loss_norm)))
        self.loss_normalizer: Tensor
        # What a term that is switched off is: made once, as making it is a launch.
        self.register_buffer("nothing", torch.zeros(()), persistent=False)
        self.nothing: Tensor

    @classmethod
    def from_actionformer(cls, config: Mapping[str, Any]) -> ASLLoss:
        """The loss that ActionFormer trains with: every part of ASL off.

        Args:
            config: keyword arguments of ActionFormer's ``LocPointTransformer``, with ``train_cfg``.

        Raises:
            ValueError: naming a missing key.
        """
        try:
            train = config["train_cfg"]
            radius = train["center_sample_radius"] if train["center_sample"] == "radius" else None
            return cls(
                config["num_classes"],
                config["fpn_dim"],
                class_level=False,
                instance_level=False,
                contrastive=False,
                center_sampling_radius=radius,
                label_smoothing=train["label_smoothing"],
                init_loss_norm=train["init_loss_norm"],
                location_weight=train["loss_weight"],
            )
        except KeyError as error:
            raise ValueError(f"the ActionFormer configuration lacks {error}; fill in its defaults") from None

    def no_weight_decay_parameters(self) -> list[nn.Parameter]:
        """The Gaussians' parameters: decay would pull them towards their initial values."""
        return [] if self.gaussians is None else [p for p in self.gaussians.parameters() if p.requires_grad]

    def forward(
        self,
        logits: Levels,
        offsets: Levels,
        features: Sequence[Tensor],
        masks: Levels,
        points: Levels,
        targets: RaggedTargets | Sequence[tuple[Tensor, Tensor]],
        frames: tuple[Tensor, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Loss of one batch; static shapes, no transfer to the host.

        Args:
            logits: per level (B, T_l, C), or joined (B, P, C), which saves a copy; likewise offsets and masks.
            offsets: per level (B, T_l, 2) >= 0, distances to start and end in strides.
            features: per level (B, T_l, D), finest first.
            masks: per level (B, T_l) bool, True where valid.
            points: per level (T_l, 4) or concatenated (P, 4): time, range low, range high, stride, in grid units.
            targets: ground truth in feature-grid units, ragged or a list of (segments (G_b, 2), labels (G_b,)).
            frames: the detector's input (B, T, frame_dim) and its mask (B, T), one frame per step of the feature grid;
                used with ``signal="evidence"`` only.

        Returns:
            Scalars ``total``, ``cls``, ``loc``, ``sensitivity``, ``fit``, ``contrastive`` with gradient (before their
            weights) and ``num_positives``; float32, or float64 where the logits are.

        Raises:
            ValueError: level counts or shapes that do not belong together.
        """
        given = join_levels(logits, offsets, features, masks, points, self.num_classes)
        if not isinstance(targets, RaggedTargets):
            targets = RaggedTargets.from_list(list(targets), device=given.points.device)
        dtype = torch.float64 if given.logits.dtype == torch.float64 else torch.float32
        quality = None if self.evaluator is None else self.evaluator(given.features, given.masks)
        terms = (self._fused if self._is_fused() else self._composed)(given, targets, quality)
        fit = self.nothing.to(dtype)
        if self.signal == "likelihood" and self.class_level and self.gaussians is not None:
            fit = likelihood_misfit(given, targets, self.gaussians, self.branches)
        if self.evidence is not None and self.gaussians is not None:
            if frames is None:
                raise ValueError(
                    'signal="evidence" needs the input frames and their mask: pass frames=(features, mask)'
                )
            fit = fit + sum(self.evidence.losses(*frames, targets, self.gaussians))
        total = terms["total"]
        if self.signal != "loss":
            total = total + fit
        total, contrast = self._add_contrast(total, given, targets, terms)
        names = ("cls", "loc", "sensitivity", "num_positives")
        kept = {name: terms[name] for name in names}
        return {"total": total, **kept, "fit": fit, "contrastive": contrast}

    def _is_fused(self) -> bool:
        """Whether one op computes it all but fit and contrastive loss.

        Not where each instance has its own scale; nor without its kernel, where its reference would be slower than the
        kernels of the separate ops; nor on a CPU, where launches cost nothing and the C++ ops one after the other are
        up to a fifth faster.
        """
        if self.normalization == "instance" or not self.loss_normalizer.is_cuda:
            return False
        # What compiles for a GPU has Triton.
        return torch.compiler.is_compiling() or _dispatch.has_kernel("detection_loss", "cuda")

    def _fused(self, given: LossInputs, targets: RaggedTargets, quality: Tensor | None) -> dict[str, Tensor]:
        moves = self.training and torch.is_grad_enabled()
        found = detection_loss(
            given.logits,
            given.offsets,
            given.mask,
            given.points,
            targets,
            self.loss_normalizer,
            quality=quality,
            gaussians=None if self.gaussians is None else self.gaussians.raw(learned=self.signal == "loss"),
            class_level=self.class_level,
            branches=self.branches,
            constant_weights=self.constant_weights or (1.0, 1.0),
            normalize=self.normalization == "batch",
            center_sampling_radius=self.center_sampling_radius,
            label_smoothing=self.label_smoothing,
            momentum=self.loss_norm_momentum if moves else 1.0,
            location_weight=self.location_weight,
        )
        if moves:
            self.loss_normalizer.copy_(found.normalizer)
        return found._asdict()

    def _composed(self, given: LossInputs, targets: RaggedTargets, q: Tensor | None) -> dict[str, Tensor]:
        """The same from the separate ops: every configuration, many launches."""
        dtype = torch.float64 if given.logits.dtype == torch.float64 else torch.float32
        logits, offsets, mask = given.logits.to(dtype), given.offsets.to(dtype), given.mask
        assigned = assign_points(
            given.points, targets, self.num_classes, center_sampling_radius=self.center_sampling_radius
        )
        positive = assigned.positive & mask
        num_positives = positive.sum()
        normalizer = self._updated_normalizer(num_positives).to(dtype)
        # Background rows get offsets (1, 1) and weight 0: what the head says there costs nothing and has no gradient.
        target_offsets = torch.where(positive[..., None], assigned.offsets.to(dtype), 1.0)
        offsets = torch.where(positive[..., None], offsets, 1.0)
        label = instance_labels(targets.labels, assigned.instance)
        quality = torch.stack([class_probability(logits, label), offset_iou(offsets, target_offsets)], -1).detach()

        weights, sensitivity = self._weights(q, targets, assigned, positive, quality)
        cls = sensitivity_focal_loss(
            logits,
            assigned.class_targets.to(dtype),
            None if weights is None else torch.where(positive, weights[0], 1.0),
            mask,
            label_smoothing=self.label_smoothing,
            reduction="sum",
        )
        loc_weight = positive.to(dtype) if weights is None else torch.where(positive, weights[1], 0.0)
        loc = diou_loss(offsets.flatten(0, 1), target_offsets.flatten(0, 1), loc_weight.flatten(), reduction="sum")
        cls, loc = cls / normalizer, loc / normalizer
        balance = self.location_weight if self.location_weight > 0 else (cls / loc.clamp(min=0.01)).detach()
        terms = {
            "total": cls + balance * loc + sensitivity,
            "cls": cls,
            "loc": loc,
            "sensitivity": sensitivity,
            "num_positives": num_positives,
        }
        if self.gaussians is not None:
            mu, sigma = self.gaussians.mu, self.gaussians.sigma
            terms["mu"], terms["sigma"] = (mu, sigma) if self.signal == "loss" else (mu.detach(), sigma.detach())
            terms["frames"] = targets.segments / given.points[0, 3]
        return terms

    def _updated_normalizer(self, num_positives: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return self.loss_normalizer
        momentum = self.loss_norm_momentum
        updated = momentum * self.loss_normalizer + (1 - momentum) * num_positives.clamp(min=1)
        self.loss_normalizer.copy_(updated)
        return updated

    def _weights(
        self,
        q: Tensor | None,
        targets: RaggedTargets,
        assigned: PointAssignment,
        positive: Tensor,
        quality: Tensor,
    ) -> tuple[tuple[Tensor, Tensor] | None, Tensor]:
        """w(h_cls), w(h_loc), each (B, P) and meaningful on positives, and the evaluator's loss."""
        zero = quality.new_zeros(())
        ones = torch.ones_like(quality[..., 0])
        if self.constant_weights is not None:
            return (self.constant_weights[0] * ones, self.constant_weights[1] * ones), zero
        if not self.class_level and q is None:
            return None, zero
        h = {branch: torch.zeros_like(ones) for branch in self.branches}
        if self.class_level and self.gaussians is not None:
            p_cls, p_start, p_end = self.gaussians(
                assigned.distance.to(ones.dtype), instance_labels(targets.labels, assigned.instance)
            )
            p = {"cls": p_cls, "loc": p_start + p_end}
            h = {branch: h[branch] + (p[branch] if self.signal == "loss" else p[branch].detach()) for branch in h}
        sensitivity = zero
        if q is not None:
            q = q.to(ones.dtype)
            wanted = quality[..., [("cls", "loc").index(branch) for branch in self.branches]]
            error = torch.where(positive[..., None], (q - wanted) ** 2, 0.0).sum()
            sensitivity = error / positive.sum().clamp(min=1)
            h = {branch: h[branch] + q[..., i].detach() for i, branch in enumerate(h)}
        if self.normalization != "none":
            groups = instance_groups(targets.labels, assigned.instance) if self.normalization == "instance" else None
            h = {branch: mean_one(h[branch], positive, groups, len(targets.labels) + 1) for branch in h}
        return (h.get("cls", ones), h.get("loc", ones)), sensitivity

    def _add_contrast(
        self, total: Tensor, given: LossInputs, targets: RaggedTargets, terms: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """``total`` with the weighted contrastive loss, and that loss; both in the dtype of ``total``."""
        if not self.contrastive:
            return total, self.nothing.to(total.dtype)
        # Grid units to frames of the finest level.
        total, contrast = add_contrastive_similarity_loss(
            total,
            self.contrastive_weight,
            given.features[0],
            given.masks[0],
            targets._replace(segments=terms["frames"]),
            terms["mu"],
            terms["sigma"],
            delta=self.delta,
            temperature=self.temperature,
        )
        return total, contrast.to(total.dtype)
