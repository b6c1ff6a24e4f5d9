# SPDX-License-Identifier: Apache-2.0
"""Detection in one video: the detector, candidates, soft-NMS, seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asl_fast import backend
from asl_fast.data.grid import FeatureGrid
from asl_fast.models.detector import ActionDetector
from asl_fast.models.postprocess import candidates, detect
from asl_fast.training.config import TrainConfig
from asl_fast.training.freed_memory import keep_freed_memory
from benchmarks.actionformer import model as actionformer_model
from benchmarks.registry import Case, Scale, close
from benchmarks.shapes import Shape, shapes, signal_shapes, small_shape

SECONDS_PER_STEP = 0.2


class Found(NamedTuple):
    """How many detections a video has, and the best scores."""

    count: Tensor
    scores: Tensor


def cases(device: str) -> list[Case]:
    """Declare every benchmark at its own size, against the reference of every op in the same detector."""
    if device == "cpu":
        keep_freed_memory()  # as every process that trains or detects there
    found: list[tuple[Shape, Scale]] = [
        (small_shape(), "small"),
        *((each, "real") for each in signal_shapes()),
        *((each, "large") for each in shapes()),
    ]
    return [_case(device, each, scale) for each, scale in found]


def _case(device: str, each: Shape, scale: Scale) -> Case:
    length, dim = each.config.data.max_length, each.config.model.feature_dim

    def make_inputs() -> tuple[Any, ...]:
        torch.manual_seed(0)
        detector = ActionDetector(each.config.model).to(device).eval()
        return Detector(detector, each.config), torch.randn(1, length, dim).to(device)

    baselines: dict[str, Callable[..., Any]] = {"reference": reference}
    theirs = actionformer_model(each.config)
    if theirs is not None:
        theirs = theirs.to(device).eval()

        def actionformer(_: Any, features: Tensor) -> Any:
            with torch.no_grad():
                return theirs([_video(features[0].t())])

        baselines["actionformer"] = actionformer
    return Case(
        f"{each.name}: {length} x {dim}",
        make_inputs,
        fused,
        baselines,
        items=1,
        scale=scale,
        compiled=None,
        counts_flops=True,
        # ActionFormer's weights are others.
        agree=None if theirs is not None else close(1e-3, 1e-4),
    )


class Detector:
    """Detection as evaluation does it, without reading files."""

    def __init__(self, detector: ActionDetector, config: TrainConfig) -> None:
        self.detector, self.inference = detector, config.inference
        self.grid = FeatureGrid(fps=1 / SECONDS_PER_STEP, stride_frame=1.0, window_frame=1.0, offset_frame=0.0)

    @torch.no_grad()  # torch's counter of operations does not work in inference mode
    def __call__(self, features: Tensor) -> Found:
        """Detect in features (1, T, D)."""
        output = self.detector(features, torch.ones_like(features[..., 0], dtype=torch.bool))
        (found,) = detect(
            candidates(output, self.inference),
            grids=[self.grid],
            durations_sec=[SECONDS_PER_STEP * features.shape[1]],
            config=self.inference,
        )
        return Found(torch.tensor(len(found.scores)), found.scores[:20])


def fused(detector: Detector, features: Tensor) -> Found:
    """Detect with whichever implementations are in force."""
    return detector(features)


def reference(detector: Detector, features: Tensor) -> Found:
    """Detect with plain PyTorch for every op."""
    with backend("reference"):
        return detector(features)


def _video(features: Tensor) -> dict[str, Any]:
    """Return features (D, T) as a sample of ActionFormer's."""
    return {
        "video_id": "0",
        "feats": features,
        "fps": 1 / SECONDS_PER_STEP,
        "duration": SECONDS_PER_STEP * features.shape[1],
        "feat_stride": 1,
        "feat_num_frames": 1,
    }
