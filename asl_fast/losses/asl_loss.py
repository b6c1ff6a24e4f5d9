# SPDX-License-Identifier: Apache-2.0
"""The training loss of Action Sensitivity Learning for any anchor-free temporal detector (Shao et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from asl_fast.losses.config import LossConfig
from asl_fast.losses.contrast import InstanceContrast
from asl_fast.losses.evidence import FrameEvidence
from asl_fast.losses.inputs import (
    Levels,
    LossInputs,
    all_channels_last,
    channels_last,
    join_outputs,
    without_channel,
)
from asl_fast.losses.likelihood import likelihood_misfit
from asl_fast.losses.peers import Peers, find_peers
from asl_fast.losses.recomputation import NormalizerHistory, is_recomputed
from asl_fast.losses.sensitivity import ClassGaussians, InstanceEvaluator
from asl_fast.ops.detection_loss import DetectionLoss, detection_loss
from asl_fast.ops.ragged import RaggedTargets


class ASLLoss(nn.Module):
    """ActionFormer's loss with positives weighted by action sensitivity, plus the contrastive loss.

        h_cls = p_cls + q_cls, h_loc = p_start + p_end + q_loc       (q detached; a switched-off part adds nothing)
        cls   = (sum over positives w(h_cls) Focal + sum over background Focal) / N
        loc   =  sum over positives w(h_loc) DIoU / N
        sensitivity = mean over positives of (q_cls - sigmoid(logit of the class))² + (q_loc - tIoU)², targets detached
        total = cls + location_weight loc + sensitivity + fit + contrastive_weight contrastive

    N is the moving average of the number of positives, kept in a buffer and updated by training forward passes with
    gradients enabled; once where activation checkpointing repeats one in the backward pass. Where instances of equal
    length share a point, the first gives d(x) and the Gaussians.

    In training under several processes (``torch.distributed`` initialised, as under torchrun) their videos are one
    batch (``pool_processes``): every process gets the losses of all, and gradients that DDP or FSDP average.

    Args:
        num_classes: C.
        feature_dim: D, channels of the pyramid's features.
        config: The options, all described by :class:`asl_fast.losses.config.LossConfig`; the default ones when None,
            which are close to the paper. What measured better is in the presets (`asl_fast.training.presets`): for
            batches of many instances ``contrastive_weight=0.1, contrastive_levels="all", signal="evidence"``.
        frame_dim: Channels of the detector's input frames; ``signal="evidence"`` alone needs it.
        **options: Single options by the names of :class:`~asl_fast.losses.config.LossConfig`, which replace those of
            ``config``: ``ASLLoss(20, 512, class_level=False)``.

    Attributes:
        config: The options in force.
        gaussians: The class level; None without class level and contrastive loss.
        evaluator: The instance level; None without it.
        evidence: The classifier of single frames; None unless ``signal="evidence"``.
        contrast: The contrastive loss; None without it.
        loss_normalizer: N, a buffer ().

    Raises:
        TypeError: An option that does not exist.
        ValueError: An option outside its range.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        config: LossConfig | None = None,
        *,
        frame_dim: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.config = config = replace(config or LossConfig(), **options)
        config.validate()
        self.num_classes = num_classes
        self.gaussians: ClassGaussians | None = None
        if config.class_level or config.contrastive:
            self.gaussians = ClassGaussians(
                num_classes, mu_bound=config.mu_bound, sigma_min=config.sigma_min, sigma_max=config.sigma_max
            )
            # Without the class level the contrastive loss looks around the initial, fixed Gaussians.
            self.gaussians.requires_grad_(config.class_level)
        self.evaluator: InstanceEvaluator | None = None
        if config.instance_level and config.branches:
            self.evaluator = InstanceEvaluator(
                feature_dim,
                len(config.branches),
                hidden_dim=config.evaluator_dim,
                kernel_size=config.evaluator_kernel_size,
            )
        self.evidence: FrameEvidence | None = None
        if config.signal == "evidence" and config.class_level:
            if frame_dim is None:
                raise ValueError(
                    'signal="evidence" learns from the input frames: give their number of channels, frame_dim'
                )
            self.evidence = FrameEvidence(frame_dim, num_classes)
        self.contrast = InstanceContrast(feature_dim, config) if config.contrastive else None
        self.register_buffer("loss_normalizer", torch.tensor(float(config.init_loss_norm)))
        self.loss_normalizer: Tensor
        # The value of a term that is switched off. It is a buffer because making a zero on a GPU is a kernel launch.
        self.register_buffer("zero", torch.zeros(()), persistent=False)
        self.zero: Tensor
        self._history = NormalizerHistory()

    @classmethod
    def from_actionformer(cls, config: Mapping[str, Any]) -> ASLLoss:
        """Make the loss that ActionFormer trains with: every part of ASL off.

        Args:
            config: Keyword arguments of ActionFormer's ``LocPointTransformer``, with ``train_cfg``.

        Raises:
            ValueError: Naming a missing key.
        """
        try:
            train = config["train_cfg"]
            options = LossConfig(
                class_level=False,
                instance_level=False,
                contrastive=False,
                center_sampling_radius=train["center_sample_radius"] if train["center_sample"] == "radius" else None,
                label_smoothing=train["label_smoothing"],
                init_loss_norm=train["init_loss_norm"],
                location_weight=train["loss_weight"],
            )
            return cls(config["num_classes"], config["fpn_dim"], options)
        except KeyError as error:
            raise ValueError(f"the ActionFormer configuration lacks {error}; fill in its defaults") from None

    def no_weight_decay_parameters(self) -> list[nn.Parameter]:
        """Return the Gaussians' parameters: decay would pull them towards their initial values."""
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
        *,
        joined_mask: Tensor | None = None,
        channels_first: bool = False,
    ) -> dict[str, Tensor]:
        """Compute the losses of one batch; static shapes, no transfer to the host.

        Args:
            logits: Per level (B, T_l, C), or joined (B, P, C), which saves a copy; likewise offsets and masks. Any
                floating types: all is computed in float32, and a gradient comes in the type of what it belongs to.
            offsets: Per level (B, T_l, 2) >= 0, distances to start and end in strides.
            features: Per level (B, T_l, D), finest first.
            masks: Per level (B, T_l) bool, True where valid.
            points: Per level (T_l, 4) or concatenated (P, 4): time, range low, range high, stride, in grid units.
            targets: Ground truth in feature-grid units, ragged or a list of (segments (G_b, 2), labels (G_b,)).
            frames: The detector's input (B, T, frame_dim) and its mask (B, T), one frame per step of the feature grid;
                used with ``signal="evidence"`` only.
            joined_mask: (B, P) bool beside masks per level, where logits, offsets and points come joined. They may
                then hold places between the levels, as many between each two, which are masked and whose points have
                an empty range: :class:`asl_fast.models.detector.DetectorOutput` is made so.
            channels_first: Logits, offsets, features and frames are (B, C, T), as convolutions give them, and masks may
                be (B, 1, T).

        Returns:
            Scalars ``total``, ``cls``, ``loc``, ``sensitivity``, ``fit``, ``contrastive`` with gradient (before their
            weights) and ``num_positives``; float32, or float64 where the logits are.

        Raises:
            ValueError: Level counts or shapes that do not belong together; no frames where the evidence needs them.
        """
        if channels_first:
            logits, offsets = all_channels_last(logits, "logits"), all_channels_last(offsets, "offsets")
            features = [channels_last(each, f"features[{level}]") for level, each in enumerate(features)]
            masks = without_channel(masks)
            if frames is not None:
                frames = channels_last(frames[0], "frames[0]"), frames[1].flatten(1)
        given = join_outputs(logits, offsets, features, masks, points, self.num_classes, joined_mask)
        if isinstance(targets, RaggedTargets):
            identity = targets.segments
        else:
            pairs = list(targets)
            targets = RaggedTargets.from_list(pairs, device=given.points.device)
            identity = pairs[0][0]
        before = self._history.recall(identity)
        moves = self.training and before is None and self._history.is_step()
        # Only training is in step in all processes; a loss may well be looked at in one of them alone.
        peers = find_peers() if self.config.pool_processes and self.training else None
        found = self._detection_loss(given, targets, before, peers, moves=moves)
        if moves:
            self.loss_normalizer.copy_(found.normalizer)
            if not torch.compiler.is_compiling():
                self._history.note(identity, found.normalizer)
        fit = self._fit(given, targets, frames, peers).to(found.total.dtype)
        total = found.total if self.config.signal == "loss" else found.total + fit
        contrastive = self.zero.to(total.dtype)
        if self.contrast is not None:
            again = self.training and not moves and is_recomputed()
            of_segments = found.segments_finest, found.mu, found.sigma
            total, contrastive = self.contrast.add(
                total, given, targets, *of_segments, moves=moves, again=again, peers=peers
            )
        return {
            "total": total,
            "cls": found.cls,
            "loc": found.loc,
            "sensitivity": found.sensitivity,
            "num_positives": found.num_positives,
            "fit": fit,
            "contrastive": contrastive,
        }

    def _detection_loss(
        self, given: LossInputs, targets: RaggedTargets, before: Tensor | None, peers: Peers | None, *, moves: bool
    ) -> DetectionLoss:
        """Compute every term but ``fit`` and ``contrastive``.

        ``before`` is what the pass divided by that is run again; ``moves`` says whether N goes on.
        """
        config, quality = self.config, None
        if self.evaluator is not None:
            detached = config.detach_quality_features
            features = [level.detach() for level in given.features] if detached else given.features
            quality = self.evaluator(features, given.masks, given.gap)
        return detection_loss(
            given.logits,
            given.offsets,
            given.mask,
            given.points,
            targets,
            self.loss_normalizer if before is None else before,
            predicted_quality=quality,
            gaussians=None if self.gaussians is None else self.gaussians.raw(learned=config.signal == "loss"),
            class_level=config.class_level,
            branches=config.branches,
            constant_weights=config.constant_weights or (1.0, 1.0),
            normalize=config.normalization == "batch",
            center_sampling_radius=config.center_sampling_radius,
            label_smoothing=config.label_smoothing,
            momentum=config.loss_norm_momentum if moves else 1.0,
            # The op balances the two losses where the weight is not positive.
            location_weight=0.0 if config.location_weight == "auto" else config.location_weight,
            peers=peers,
        )

    def _fit(
        self, given: LossInputs, targets: RaggedTargets, frames: tuple[Tensor, Tensor] | None, peers: Peers | None
    ) -> Tensor:
        """Compute the loss by which the Gaussians are fitted, (); zero where the signal is the loss itself."""
        if self.gaussians is None or not self.config.class_level or self.config.signal == "loss":
            return self.zero
        if self.evidence is None:
            return likelihood_misfit(given, targets, self.gaussians, self.config.branches, peers)
        if frames is None:
            raise ValueError('signal="evidence" needs the input frames and their mask: pass frames=(features, mask)')
        cross_entropy, misfit = self.evidence.losses(*frames, targets, self.gaussians, peers)
        return cross_entropy + misfit
