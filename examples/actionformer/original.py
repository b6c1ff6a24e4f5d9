# SPDX-License-Identifier: Apache-2.0
"""ActionFormer from its checkout, at a small width, or its stand-in; and made-up recordings for it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import actionformer
from examples import stand_in as shared
from examples.actionformer import stand_in
from examples.comparison import Original

CLASSES = 20
CHANNELS, WIDTH, LONGEST = 32, 64, 1152


def original() -> Original:
    """Return ActionFormer, or its stand-in where ``ACTIONFORMER_DIR`` is not set."""
    loaded = actionformer.load()
    if loaded is None:
        return Original(
            name="stand-in for ActionFormer",
            make_model=lambda: _seeded(stand_in.PtTransformer),
            make_optimizer=lambda model: torch.optim.AdamW(shared.sorted_by_name(model, rate=1e-2, decay=0.05)),
            batches=lambda steps: video_lists(steps, shared.CHANNELS, shared.LONGEST, shared.CLASSES),
            loss=lambda model, batch: model(batch),
            total="final_loss",
            detect=lambda model, batch: model(batch[:1]),
            batched_nms=stand_in.batched_nms,
        )
    root = Path(os.environ[actionformer.VARIABLE])
    config = importlib.import_module("libs.core.config").load_config(root / "configs" / "thumos_i3d.yaml")
    model = config["model"]
    model.update(input_dim=CHANNELS, embd_dim=WIDTH, fpn_dim=WIDTH, head_dim=WIDTH, max_seq_len=LONGEST)
    # Drawn anew in every pass, so that two models could not be compared.
    model["train_cfg"].update(droppath=0.0)
    make = importlib.import_module("libs.modeling").make_meta_arch
    utils = importlib.import_module("libs.utils.train_utils")
    return Original(
        name="ActionFormer",
        make_model=lambda: _seeded(lambda: make(config["model_name"], **model)),
        make_optimizer=lambda model: utils.make_optimizer(model, config["opt"]),
        batches=lambda steps: video_lists(steps, CHANNELS, LONGEST, CLASSES),
        loss=lambda model, batch: model(batch),
        total="final_loss",
        detect=lambda model, batch: model(batch[:1]),
        batched_nms=loaded.nms.batched_nms,
    )


def video_lists(steps: int, channels: int, longest: int, classes: int) -> Iterator[list[dict[str, Any]]]:
    """Draw batches of three recordings, of which one has no action."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        videos = []
        for video, actions in enumerate((6, 3, 0)):
            length = longest - video * (longest // 5) - 1
            start = torch.rand(actions, 1, generator=generator) * length * 0.7
            duration = 2 + torch.rand(actions, 1, generator=generator) * length * 0.2
            videos.append(
                {
                    "video_id": f"recording-{video}",
                    "feats": torch.randn(channels, length, generator=generator),
                    "segments": torch.cat((start, start + duration), 1),
                    "labels": torch.randint(classes, (actions,), generator=generator),
                    "fps": shared.FPS,
                    "duration": (length * shared.STRIDE_FRAME + shared.WINDOW_FRAME) / shared.FPS,
                    "feat_stride": shared.STRIDE_FRAME,
                    "feat_num_frames": shared.WINDOW_FRAME,
                }
            )
        yield videos


def _seeded(make: Any) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = make()
    return model
