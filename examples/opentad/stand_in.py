# SPDX-License-Identifier: Apache-2.0
"""A small detector with the interface of OpenTAD's ActionFormer, for when its code is not there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples import stand_in as shared


def batched_nms(segs: Tensor, scores: Tensor, cls_idxs: Tensor, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Suppress as OpenTAD's function of this name does with soft-NMS of each class."""
    assert options["use_soft_nms"] and options["multiclass"]
    return shared.plain_nms(
        segs, scores, cls_idxs,
        sigma=options["sigma"], min_score=options["min_score"], most=options["max_seg_num"],
    )  # fmt: skip


class FocalLoss(nn.Module):
    """Its two numbers."""

    alpha, gamma = 0.25, 2.0


class DIOULoss(nn.Module):
    """By its name alone."""


class AnchorFreeHead(nn.Module):
    """Losses in training, proposals in evaluation."""

    loss_normalizer: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.num_classes, self.in_channels = shared.CLASSES, shared.WIDTH
        self.cls_head = nn.Conv1d(shared.WIDTH, shared.CLASSES, 3, padding=1)
        self.reg_head = nn.Conv1d(shared.WIDTH, 2, 3, padding=1)
        nn.init.constant_(self.cls_head.bias, -2.0)  # type: ignore[arg-type]
        nn.init.constant_(self.reg_head.bias, 1.0)  # type: ignore[arg-type]
        self.cls_loss, self.reg_loss = FocalLoss(), DIOULoss()
        self.center_sample, self.center_sample_radius = "radius", 1.5
        self.label_smoothing, self.loss_weight, self.filter_similar_gt = 0.0, 1.0, True
        self.loss_normalizer_momentum = 0.9
        self.register_buffer("loss_normalizer", torch.tensor(100))

    def prior_generator(self, levels: list[Tensor]) -> list[Tensor]:
        """Return the points of each level."""
        return shared.points_of(levels)

    def _predict(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return [self.cls_head(level) for level in levels], [F.relu(self.reg_head(level)) for level in levels]

    def forward_train(self, feat_list: Any, mask_list: Any, gt_segments: Any, gt_labels: Any, **_: Any) -> Any:
        """Return the losses by name."""
        points = self.prior_generator(feat_list)
        return self.losses(*self._predict(feat_list), mask_list, points, gt_segments, gt_labels)

    def forward_test(self, feat_list: Any, mask_list: Any) -> Any:
        """Return logits, offsets, mask and points, joined."""
        logits, offsets = (torch.cat(each, 2).transpose(1, 2) for each in self._predict(feat_list))
        return logits, offsets, torch.cat(mask_list, 1), torch.cat(self.prior_generator(feat_list))

    def losses(
        self, cls_pred: Any, reg_pred: Any, mask_list: Any, points: Any, gt_segments: Any, gt_labels: Any
    ) -> dict[str, Tensor]:
        """Return the losses by name."""
        truth = self.prepare_targets(points, gt_segments, gt_labels)
        logits, offsets = (torch.cat(each, 2).transpose(1, 2) for each in (cls_pred, reg_pred))
        mask, radius = torch.cat(mask_list, 1), self.center_sample_radius
        focal, location, number = shared.plain_losses(logits, offsets, mask, truth[0], truth[1], radius)
        divisor = torch.tensor(float(max(number, 1)))
        if self.training:
            kept = self.loss_normalizer_momentum
            divisor = self.loss_normalizer = kept * self.loss_normalizer + (1 - kept) * divisor
        return {"cls_loss": focal / divisor, "reg_loss": location / divisor}

    def prepare_targets(self, points: Any, gt_segments: Any, gt_labels: Any) -> Any:
        """Return what the loss needs of points and ground truth."""
        return torch.cat(points), list(zip(gt_segments, gt_labels, strict=True))


class ActionFormer(nn.Module):
    """Features to the sum of losses, or to detections."""

    def __init__(self) -> None:
        super().__init__()
        self.projection, self.rpn_head = shared.Pyramid(), AnchorFreeHead()

    def get_optim_groups(self, cfg: dict[str, float]) -> list[dict[str, Any]]:
        """Return the groups of parameters for an optimiser."""
        return shared.sorted_by_name(self, rate=cfg["lr"], decay=cfg["weight_decay"])

    def forward(
        self, inputs: Tensor, masks: Tensor, metas: Any, gt_segments: Any = None, gt_labels: Any = None,
        return_loss: bool = True, post_cfg: Any = None, ext_cls: Any = None, **_: Any,
    ) -> Any:  # fmt: skip
        """Return losses by name with their sum "cost", or detections by video."""
        levels, with_channel = self.projection(inputs, masks[:, None])
        found = [mask[:, 0] for mask in with_channel]
        if not return_loss:
            return self.post_processing(self.rpn_head.forward_test(levels, found), metas, post_cfg, ext_cls)
        losses = self.rpn_head.forward_train(levels, found, gt_segments=gt_segments, gt_labels=gt_labels)
        return losses | {"cost": sum(losses.values())}

    @torch.no_grad()
    def post_processing(self, predictions: Any, metas: Any, post_cfg: Any, ext_cls: list[str]) -> dict[str, Any]:
        """Suppress; return detections by video, rounded as in its result files."""
        logits, offsets, mask, points = predictions
        results = {}
        for i, meta in enumerate(metas):
            kept = shared.candidates(logits[i], offsets[i], mask[i], points)
            segments, scores, labels = batched_nms(*kept, **post_cfg.nms)
            rows = zip(segments.tolist(), scores.tolist(), labels.tolist(), strict=True)
            results[meta["video_name"]] = [
                {"segment": [round(t, 2) for t in segment], "score": round(score, 4), "label": ext_cls[label]}
                for segment, score, label in rows
            ]
        return results


POST_CFG = SimpleNamespace(
    sliding_window=False, nms={"use_soft_nms": True, "sigma": 0.5, "max_seg_num": 200, "min_score": 0.001,
                               "multiclass": True},
)  # fmt: skip
