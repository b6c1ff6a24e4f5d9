# SPDX-License-Identifier: Apache-2.0
"""OpenTAD's ActionFormer from its checkout, at a small width, or its stand-in; and made-up recordings for it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from benchmarks import opentad
from examples import stand_in as shared
from examples.actionformer.original import video_lists
from examples.comparison import Original
from examples.opentad import stand_in

CLASSES = 20
CHANNELS, WIDTH, LONGEST = 32, 64, 1152
RATES = {"lr": 1e-3, "weight_decay": 0.05}


def original() -> Original:
    """Return OpenTAD's detector, or its stand-in where ``OPENTAD_DIR`` is not set."""
    loaded = opentad.load()
    if loaded is None:
        return Original(
            name="stand-in for OpenTAD",
            make_model=lambda: _seeded(stand_in.ActionFormer),
            make_optimizer=lambda model: torch.optim.AdamW(model.get_optim_groups(RATES)),  # type: ignore[operator]
            batches=lambda steps: batches(steps, shared.CHANNELS, shared.LONGEST, shared.CLASSES),
            loss=lambda model, batch: model(**batch),
            total="cost",
            detect=lambda model, batch: detect(model, batch, shared.CLASSES, stand_in.POST_CFG),
            batched_nms=stand_in.batched_nms,
        )
    settings = importlib.import_module("mmengine.config").Config
    model = settings.fromfile(str(loaded.root / "configs" / "_base_" / "models" / "actionformer.py")).model
    # Drawn anew in every pass, so that two models could not be compared: no path is dropped.
    model.projection.update(in_channels=CHANNELS, out_channels=WIDTH, max_seq_len=LONGEST, path_pdrop=0.0)
    model.neck.update(in_channels=WIDTH, out_channels=WIDTH)
    model.rpn_head.update(in_channels=WIDTH, feat_channels=WIDTH, num_classes=CLASSES)
    return Original(
        name="OpenTAD",
        make_model=lambda: _seeded(lambda: loaded.build_detector(model)),
        make_optimizer=lambda model: torch.optim.AdamW(model.get_optim_groups(RATES)),  # type: ignore[operator]
        batches=lambda steps: batches(steps, CHANNELS, LONGEST, CLASSES),
        loss=lambda model, batch: model(**batch),
        total="cost",
        detect=lambda model, batch: detect(model, batch, CLASSES, stand_in.POST_CFG),
        batched_nms=loaded.batched_nms,
    )


def batches(steps: int, channels: int, longest: int, classes: int) -> Iterator[dict[str, Any]]:
    """Draw batches of three recordings, of which one has no action."""
    for videos in video_lists(steps, channels, longest, classes):
        lengths = torch.tensor([video["feats"].shape[-1] for video in videos])
        yield {
            "inputs": nn.utils.rnn.pad_sequence([v["feats"].T for v in videos], batch_first=True).transpose(1, 2),
            "masks": torch.arange(int(lengths.max())) < lengths[:, None],
            "metas": [
                {
                    "video_name": video["video_id"],
                    "fps": video["fps"],
                    "duration": video["duration"],
                    "snippet_stride": video["feat_stride"],
                    "offset_frames": video["feat_num_frames"] // 2,
                    "window_start_frame": 0,
                }
                for video in videos
            ],
            "gt_segments": [video["segments"] for video in videos],
            "gt_labels": [video["labels"] for video in videos],
        }


def detect(model: nn.Module, batch: dict[str, Any], classes: int, post_cfg: Any) -> Any:
    """Return what a model in evaluation finds in a batch."""
    from types import SimpleNamespace

    with torch.no_grad():
        return model(
            batch["inputs"],
            batch["masks"],
            batch["metas"],
            return_loss=False,
            infer_cfg=SimpleNamespace(load_from_raw_predictions=False, save_raw_prediction=False),
            post_cfg=post_cfg,
            ext_cls=[f"class {i}" for i in range(classes)],
        )


def _seeded(make: Any) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = make()
    return model
