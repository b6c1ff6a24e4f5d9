# SPDX-License-Identifier: Apache-2.0
"""OpenTAD's own detectors with an anchor-free head trained with ASL's loss, their NMS replaced by ours.

    model = build_detector(cfg.model)
    opentad.use_asl(model)
    opentad.use_soft_nms(model)

The rest of its code stays as it is: data, optimiser, schedule, average of the weights, checkpoints, evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from asl_fast.integrations.attaching import (
    HoldsLoss,
    attach,
    check_host,
    extra_terms,
    location_weight,
    merged,
    without_asl,
)
from asl_fast.integrations.suppression import Kept, replace_nms, suppress, vote
from asl_fast.losses.asl_loss import ASLLoss
from asl_fast.losses.config import LossConfig
from asl_fast.reference.soft_nms import Method

__all__ = ["batched_nms", "use_asl", "use_soft_nms", "without_asl"]

_HEAD = "AnchorFreeHead"
_PARTS = ("num_classes", "in_channels", "cls_loss", "reg_loss", "prior_generator")
_METHODS = {"losses": ("cls_pred", "reg_pred", "mask_list", "points", "gt_segments", "gt_labels")}
_FOCAL = {"alpha": 0.25, "gamma": 2.0}
_NMS: dict[int, Method] = {0: "hard", 1: "linear", 2: "gaussian"}


class _Head(HoldsLoss):
    """The losses of an anchor-free head in training; in evaluation all is its own."""

    _features: Sequence[Tensor] | None

    def forward_train(self, feat_list: Sequence[Tensor], mask_list: Sequence[Tensor], *args: Any, **more: Any) -> Any:
        head: Any = super()
        self._features = feat_list  # which the head does not hand on to its losses
        try:
            return head.forward_train(feat_list, mask_list, *args, **more)
        finally:
            self._features = None

    def losses(
        self,
        cls_pred: Sequence[Tensor],
        reg_pred: Sequence[Tensor],
        mask_list: Sequence[Tensor],
        points: Sequence[Tensor],
        gt_segments: Sequence[Tensor],
        gt_labels: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Return the terms of the loss as the detector adds them up."""
        if not self.training:
            theirs: Any = super()
            losses: dict[str, Tensor] = theirs.losses(cls_pred, reg_pred, mask_list, points, gt_segments, gt_labels)
            return losses
        assert self._features is not None, "forward_train calls losses"
        targets = list(zip(gt_segments, gt_labels, strict=True))
        found = self.asl_loss(cls_pred, reg_pred, self._features, mask_list, points, targets, channels_first=True)
        terms = {"cls_loss": found["cls"], "reg_loss": found["loc"] * location_weight(found, self.asl_loss.config)}
        return terms | extra_terms(found, self.asl_loss, weighted=True)

    def _weights_of_old_checkpoints(self, state_dict: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
        weights = super()._weights_of_old_checkpoints(state_dict, prefix)
        before = state_dict.get(f"{prefix}loss_normalizer")
        if isinstance(before, Tensor) and before.numel() == 1:
            # The head's own running count of positives goes on.
            weights["loss_normalizer"] = before.detach().to(torch.float32).reshape(())
        return weights


def use_asl(model: nn.Module, config: LossConfig | None = None, **options: Any) -> ASLLoss:
    """Train a detector of OpenTAD with ASL's loss from here on; its losses in evaluation stay what they are.

    Call it on a model as it was built, before it is wrapped and its optimiser and the average of its weights are made:
    the loss becomes the part ``rpn_head.asl_loss``, whose parameters are trained along. Old checkpoints still load, and
    `without_asl` makes new ones load where the loss is not attached.

    Args:
        model: A detector with an anchor-free head, such as ActionFormer, or the head.
        config: Options of the loss; how points become positive, label smoothing, the normaliser and the weight of the
            localisation loss are those of the head.
        **options: Single options by the names of :class:`asl_fast.losses.config.LossConfig`, which go before both; with
            class_level=False, instance_level=False and contrastive=False the loss is OpenTAD's.

    Returns:
        The loss.

    Raises:
        TypeError: A model without such a head, or a head with a loss of its own.
        ValueError: A loss that was attached already, an option outside its range, or a setting of the head that
            ASLLoss does not have.
    """
    head: Any = getattr(model, "rpn_head", model)
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise TypeError("call use_asl on the detector before it is wrapped, so that all parameters are synchronised")
    check_host(head, _PARTS, _METHODS, "anchor-free head of OpenTAD")
    _check_head(head)
    settings = {
        "center_sampling_radius": head.center_sample_radius if head.center_sample == "radius" else None,
        "label_smoothing": head.label_smoothing,
        "location_weight": head.loss_weight,
        "init_loss_norm": float(head.loss_normalizer),
        "loss_norm_momentum": head.loss_normalizer_momentum,
    }
    chosen = merged(config, settings, options)
    if chosen.signal == "evidence":
        raise ValueError('signal="evidence" learns from input frames, which an OpenTAD head does not see; take another')
    loss = ASLLoss(head.num_classes, head.in_channels, chosen)
    attach(head, loss, _Head)
    head._features = None
    return loss


def use_soft_nms(model: nn.Module) -> Callable[[], None]:
    """Let the post-processing of an OpenTAD detector call our soft-NMS, for every model of its class in this process.

    Args:
        model: One of them, or one in a wrapper for data parallelism.

    Returns:
        What puts its own NMS back.

    Raises:
        TypeError: A model that suppresses in another way.
    """
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        model = model.module
    if not hasattr(model, "post_processing"):
        raise TypeError(f"{type(model).__name__} is no detector of OpenTAD: it has no 'post_processing'")
    detector: Any = type(model)
    return replace_nms(detector.post_processing, batched_nms, "detector of OpenTAD")


def batched_nms(
    segs: Tensor,
    scores: Tensor,
    cls_idxs: Tensor,
    iou_threshold: float = 0.0,
    min_score: float = 0.0,
    max_seg_num: int = 100,
    use_soft_nms: bool = True,
    multiclass: bool = True,
    sigma: float = 0.5,
    voting_thresh: float = 0.0,
    method: int = 2,
    t1: float = 0.0,
    t2: float = 0.0,
) -> Kept:
    """Take the arguments of OpenTAD's function of this name and give its results, from our soft-NMS.

    Args:
        segs: (N, 2) candidates of one video.
        scores: (N,).
        cls_idxs: (N,).
        iou_threshold: Of hard and linear NMS.
        min_score: Least score.
        max_seg_num: Most detections, at least 1.
        use_soft_nms: By ``method``; otherwise hard.
        multiclass: Each class on its own, and no voting.
        sigma: Of the Gaussian.
        voting_thresh: IoU from which candidates vote on boundaries, by their scores alone; 0 is off.
        method: 0 hard, 1 linear, 2 Gaussian.
        t1: Of method 3, which there is none of here.
        t2: Likewise.

    Returns:
        Segments, scores and classes of what remains, by falling score.

    Raises:
        ValueError: For method 3, a setting out of range or a candidate that is not finite.
    """
    if use_soft_nms and method not in _NMS:
        raise ValueError(
            f"method={method} of OpenTAD's NMS has no equivalent here; take 0 (hard), 1 (linear) or 2 (Gaussian), or "
            "leave its own NMS in place"
        )
    segments, scores = segs.float(), scores.float()
    kept, kept_scores, kept_labels = suppress(
        segments,
        scores,
        cls_idxs,
        method=_NMS[method] if use_soft_nms else "hard",
        sigma=sigma,
        iou_threshold=iou_threshold,
        min_score=min_score,
        max_segments=max_seg_num,
        per_class=multiclass,
        keep_best=use_soft_nms,
        voting_threshold=None,
    )
    if voting_thresh > 0 and not multiclass:
        kept = vote(kept, segments, scores, voting_thresh)
    return kept, kept_scores, kept_labels


def _check_head(head: Any) -> None:
    """Check that nothing of a head's loss would silently become another."""
    name = type(head).__name__
    base = next((each for each in type(head).__mro__ if each.__name__ == _HEAD), None)
    if base is None:
        raise TypeError(f"{name} is no {_HEAD} of OpenTAD; call asl_fast.ASLLoss from its own training code")
    for method in ("losses", "prepare_targets"):
        if getattr(type(head), method) is not getattr(base, method):
            raise TypeError(
                f"{name} has {method} of its own, which use_asl does not know; call asl_fast.ASLLoss from its own "
                "training code"
            )
    for part, kind in (("cls_loss", "FocalLoss"), ("reg_loss", "DIOULoss")):
        found = type(getattr(head, part)).__name__
        if found != kind:
            raise ValueError(f'{name}.{part} is {found}, but ASLLoss has {kind}: set {part}=dict(type="{kind}")')
    for option, value in _FOCAL.items():
        if getattr(head.cls_loss, option) != value:
            found = getattr(head.cls_loss, option)
            raise ValueError(f"{name}.cls_loss has {option}={found}, but ASLLoss has {value}: set it to {value}")
    if not getattr(head, "filter_similar_gt", True):
        raise ValueError(
            f"{name} counts every action at a point (filter_similar_gt=False), ASLLoss the shortest and those of its "
            "length: set filter_similar_gt=True"
        )
