# SPDX-License-Identifier: Apache-2.0
"""A small model with the interface of ActionFormer's ``LocPointTransformer``, for when its code is not there."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples import stand_in as shared


def batched_nms(segs: Tensor, scores: Tensor, cls_idxs: Tensor, iou_threshold: float, min_score: float,
                max_seg_num: int, **options: Any) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Suppress as ActionFormer's function of this name does with soft-NMS of each class."""
    assert options["use_soft_nms"] and options["multiclass"]
    return shared.plain_nms(
        segs, scores, cls_idxs, sigma=options["sigma"], min_score=min_score, most=max_seg_num
    )  # the plain one knows nothing else


class Head(nn.Module):
    """One convolution that all levels share."""

    def __init__(self, channels: int, *, positive: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(shared.WIDTH, channels, 3, padding=1)
        self.positive = positive

    def forward(self, levels: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
        """Return (B, channels, T_l) of each level."""
        found = [self.conv(level) for level in levels]
        return [F.relu(each) for each in found] if self.positive else found


class PtTransformer(nn.Module):
    """Features to losses in training, to detections in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = shared.CLASSES
        self.backbone = shared.Pyramid()
        self.neck = Same()
        self.cls_head, self.reg_head = Head(shared.CLASSES, positive=False), Head(2, positive=True)
        nn.init.constant_(self.cls_head.conv.bias, -2.0)  # type: ignore[arg-type]
        nn.init.constant_(self.reg_head.conv.bias, 1.0)  # type: ignore[arg-type]
        self.train_center_sample, self.train_center_sample_radius = "radius", 1.5
        self.train_label_smoothing, self.train_loss_weight = 0.0, 1.0
        self.loss_normalizer, self.loss_normalizer_momentum = 100.0, 0.9

    def point_generator(self, levels: list[Tensor]) -> list[Tensor]:
        """Return the points of each level."""
        return shared.points_of(levels)

    def preprocessing(self, video_list: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        """Return padded features (B, C, T) and the mask (B, 1, T)."""
        lengths = torch.tensor([video["feats"].shape[-1] for video in video_list])
        inputs = torch.stack([F.pad(v["feats"], (0, shared.LONGEST - v["feats"].shape[-1])) for v in video_list])
        return inputs, (torch.arange(shared.LONGEST) < lengths[:, None])[:, None]

    def forward(self, video_list: list[dict[str, Any]]) -> Any:
        """Return losses by name in training, detections of each video in evaluation."""
        levels, masks = self.neck(*self.backbone(*self.preprocessing(video_list)))
        points = self.point_generator(levels)
        logits = [each.transpose(1, 2) for each in self.cls_head(levels, masks)]
        offsets = [each.transpose(1, 2) for each in self.reg_head(levels, masks)]
        masks = [mask[:, 0] for mask in masks]
        if self.training:
            truth = self.label_points(points, [v["segments"] for v in video_list], [v["labels"] for v in video_list])
            return self.losses(masks, logits, offsets, *truth)
        joined = zip(torch.cat(logits, 1), torch.cat(offsets, 1), torch.cat(masks, 1), strict=True)
        found = [shared.candidates(*of_video, torch.cat(points)) for of_video in joined]
        return self.postprocessing(
            [
                dict(zip(("segments", "scores", "labels"), each, strict=True), video_id=video["video_id"])
                for each, video in zip(found, video_list, strict=True)
            ]
        )

    def label_points(self, points: list[Tensor], segments: list[Tensor], labels: list[Tensor]) -> Any:
        """Return what `losses` needs of the ground truth."""
        return points, list(zip(segments, labels, strict=True))

    def losses(
        self, fpn_masks: Any, out_cls_logits: Any, out_offsets: Any, gt_cls_labels: Any, gt_offsets: Any
    ) -> dict[str, Tensor]:
        """Return the losses by name; the last two arguments are what `label_points` gave."""
        logits, offsets, mask = (torch.cat(each, 1) for each in (out_cls_logits, out_offsets, fpn_masks))
        radius = self.train_center_sample_radius
        focal, location, number = shared.plain_losses(
            logits, offsets, mask, torch.cat(gt_cls_labels), gt_offsets, radius
        )
        kept = self.loss_normalizer_momentum
        self.loss_normalizer = kept * self.loss_normalizer + (1 - kept) * max(number, 1)
        focal, location = focal / self.loss_normalizer, location / self.loss_normalizer
        return {"cls_loss": focal, "reg_loss": location, "final_loss": focal + location}

    @torch.no_grad()
    def postprocessing(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Suppress, and turn grid steps into seconds."""
        for video in results:
            kept = batched_nms(
                video["segments"], video["scores"], video["labels"], 0.1, 0.001, 200,
                use_soft_nms=True, multiclass=True, sigma=0.5, voting_thresh=0.7,
            )  # fmt: skip
            video.update(zip(("segments", "scores", "labels"), kept, strict=True))
            video["segments"] = (video["segments"] * shared.STRIDE_FRAME + shared.WINDOW_FRAME / 2) / shared.FPS
        return results


class Same(nn.Module):
    """A neck that changes nothing."""

    def forward(self, levels: list[Tensor], masks: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return what it was given."""
        return levels, masks
