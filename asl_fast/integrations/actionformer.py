# SPDX-License-Identifier: Apache-2.0
"""ActionFormer's own model (Zhang, Wu, Li, ECCV 2022) trained with ASL's loss, its NMS replaced by ours.

    model = make_meta_arch(cfg["model_name"], **cfg["model"])
    actionformer.use_asl(model)
    actionformer.use_soft_nms(model)

The rest of its code stays as it is: data, optimiser, schedule, average of the weights, checkpoints, evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from asl_fast.integrations.attaching import HoldsLoss, attach, check_host, extra_terms, merged, without_asl
from asl_fast.integrations.suppression import Kept, replace_nms, suppress
from asl_fast.losses.asl_loss import ASLLoss
from asl_fast.losses.config import LossConfig

__all__ = ["batched_nms", "use_asl", "use_soft_nms", "without_asl"]

_PARTS = ("preprocessing", "backbone", "neck", "point_generator", "cls_head", "reg_head", "num_classes")
_METHODS = {"losses": ("fpn_masks", "out_cls_logits", "out_offsets", "gt_cls_labels", "gt_offsets")}


class _ActionFormer(HoldsLoss):
    """Its forward pass in training, up to the loss; in evaluation all is its own."""

    def forward(self, video_list: Sequence[Mapping[str, Any]]) -> Any:
        model: Any = self
        if not self.training:
            return super().forward(video_list)
        inputs, mask = model.preprocessing(video_list)
        features, masks = model.neck(*model.backbone(inputs, mask))
        found = self.asl_loss(
            model.cls_head(features, masks),
            model.reg_head(features, masks),
            features,
            masks,
            model.point_generator(features),
            [_ground_truth(video) for video in video_list],
            (inputs, mask) if self.asl_loss.evidence is not None else None,
            channels_first=True,
        )
        terms = {"cls_loss": found["cls"], "reg_loss": found["loc"]}
        return terms | extra_terms(found, self.asl_loss, weighted=False) | {"final_loss": found["total"]}


def use_asl(model: nn.Module, config: LossConfig | None = None, **options: Any) -> ASLLoss:
    """Train an ActionFormer model with ASL's loss from here on.

    Call it on a model as it was made, before its optimiser and the average of its weights are: the loss becomes its
    part ``asl_loss``, whose parameters are trained along. Old checkpoints still load, and `without_asl` makes new ones
    load where the loss is not attached.

    Args:
        model: ``LocPointTransformer``, or one in ``nn.DataParallel``.
        config: Options of the loss; how points become positive, label smoothing, the normaliser and the weight of the
            localisation loss are those of the model.
        **options: Single options by the names of :class:`asl_fast.losses.config.LossConfig`, which go before both; with
            class_level=False, instance_level=False and contrastive=False the loss is ActionFormer's.

    Returns:
        The loss.

    Raises:
        TypeError: A model that is no ActionFormer, or has a loss of its own.
        ValueError: A loss that was attached already, or an option outside its range.
    """
    model = model.module if isinstance(model, nn.DataParallel) else model
    check_host(model, _PARTS, _METHODS, "ActionFormer model")
    host: Any = model
    sampled = host.train_center_sample == "radius"
    settings = {
        "center_sampling_radius": host.train_center_sample_radius if sampled else None,
        "label_smoothing": host.train_label_smoothing,
        "location_weight": host.train_loss_weight,
        "init_loss_norm": float(host.loss_normalizer),
        "loss_norm_momentum": host.loss_normalizer_momentum,
    }
    chosen = merged(config, settings, options)
    frame_dim = _first_convolutions(host.backbone) if chosen.signal == "evidence" else None
    loss = ASLLoss(host.num_classes, _convolution(host.cls_head).in_channels, chosen, frame_dim=frame_dim)
    attach(model, loss, _ActionFormer)
    return loss


def use_soft_nms(model: nn.Module) -> Callable[[], None]:
    """Let the post-processing of ActionFormer call our soft-NMS, for every model of its class in this process.

    Args:
        model: One of them, or one in ``nn.DataParallel``.

    Returns:
        What puts its own NMS back.

    Raises:
        TypeError: A model that is no ActionFormer.
    """
    model = model.module if isinstance(model, nn.DataParallel) else model
    if not hasattr(model, "postprocessing"):
        raise TypeError(f"{type(model).__name__} is no ActionFormer model: it has no 'postprocessing'")
    detector: Any = type(model)
    return replace_nms(detector.postprocessing, batched_nms, "ActionFormer model")


def batched_nms(
    segs: Tensor,
    scores: Tensor,
    cls_idxs: Tensor,
    iou_threshold: float,
    min_score: float,
    max_seg_num: int,
    use_soft_nms: bool = True,
    multiclass: bool = True,
    sigma: float = 0.5,
    voting_thresh: float = 0.75,
) -> Kept:
    """Take the arguments of ActionFormer's function of this name and give its results, from our soft-NMS.

    Args:
        segs: (N, 2) candidates of one video.
        scores: (N,).
        cls_idxs: (N,).
        iou_threshold: Of hard NMS.
        min_score: Least score.
        max_seg_num: Most detections, at least 1.
        use_soft_nms: Gaussian; otherwise hard.
        multiclass: Each class on its own, and no voting.
        sigma: Of the Gaussian.
        voting_thresh: IoU from which candidates vote on boundaries; 0 is off.

    Returns:
        Segments, scores and classes of what remains, by falling score.

    Raises:
        ValueError: For a setting out of range or a candidate that is not finite.
    """
    return suppress(
        segs,
        scores,
        cls_idxs,
        method="gaussian" if use_soft_nms else "hard",
        sigma=sigma,
        iou_threshold=iou_threshold,
        min_score=min_score,
        max_segments=max_seg_num,
        per_class=multiclass,
        keep_best=use_soft_nms,
        voting_threshold=voting_thresh if voting_thresh > 0 and not multiclass else None,
    )


def _ground_truth(video: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    segments, labels = video.get("segments"), video.get("labels")
    if segments is None or labels is None:
        raise ValueError(f"video {video.get('video_id')!r} has no 'segments' or no 'labels': it cannot be trained on")
    return segments, labels


def _convolution(module: nn.Module) -> nn.Conv1d:
    return next(part for part in module.modules() if isinstance(part, nn.Conv1d))


def _first_convolutions(backbone: Any) -> int:
    """Return the channels of the input, of all streams that are projected on their own."""
    streams = getattr(backbone, "proj", None)
    if isinstance(streams, nn.ModuleList) and len(streams):
        return sum(_convolution(stream).in_channels for stream in streams)
    return _convolution(backbone).in_channels
