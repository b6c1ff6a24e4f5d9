# SPDX-License-Identifier: Apache-2.0
"""A recording that still grows: the same detections, each once it is certain."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from asl_fast.data.grid import FeatureGrid
from asl_fast.detection.live import stream_actions
from asl_fast.detection.stream import StreamDetector, StreamedAction
from asl_fast.detection.trained import TrainedDetector
from asl_fast.models.config import DetectorConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.models.receptive_field import receptive_field
from asl_fast.models.windows import UnboundedReachError
from asl_fast.training.config import TrainConfig
from asl_fast.training.inference import Recording
from asl_fast.video.decode import VideoError
from asl_fast.video.live import arriving
from asl_fast.video.motion import MotionBackbone
from tests.video.clips import write_clip

GRID = FeatureGrid(25.0, 4, 8)
SCORE = 0.5


def trained_on_nothing(dim: int = 6, **model: object) -> TrainedDetector:
    """Return a small detector with random weights whose scores spread around one half."""
    torch.manual_seed(3)
    values: dict[str, object] = {
        "feature_dim": dim, "num_classes": 3, "width": 16, "num_heads": 2, "num_levels": 3,
        "attention_windows": (5,), "max_length_grid": 64,
    }  # fmt: skip
    config = TrainConfig(model=DetectorConfig(**(values | model)))  # type: ignore[arg-type]
    detector = ActionDetector(config.model).eval()
    with torch.no_grad():
        for name, weight in detector.named_parameters():
            if name.endswith("bias") and weight.shape == (3,):
                weight.fill_(-0.2)
            elif weight.ndim > 1:
                weight.mul_(3)
    manifest = {
        "name": "motion-8-4", "dim": dim, "stride_frame": 4.0, "window_frame": 8.0,
        "extraction": dataclasses.asdict(MotionBackbone.extraction),
    }  # fmt: skip
    record = {"class_names": ["a", "b", "c"], "manifest": manifest}
    return TrainedDetector(detector, config, record, 1, Path("run"))


def streamed(detector: StreamDetector, features: torch.Tensor) -> list[StreamedAction]:
    return [*detector.add(features), *detector.end()]


def as_one(trained: TrainedDetector, features: torch.Tensor, longest_grid: float) -> list[tuple[float, float, str]]:
    """Detect in the whole at once; nothing longer than what a stream may hold is suppressed or suppresses."""
    config = dataclasses.replace(trained.config.inference, score_threshold=SCORE, min_score=SCORE)
    trained = dataclasses.replace(trained, config=dataclasses.replace(trained.config, inference=config))
    recording = Recording("x", len(features), lambda a, b: features[a:b], GRID.covered_sec(len(features)), GRID)
    found = trained.detect_long(recording)
    keep = found.scores >= SCORE
    longest = found.segments[:, 1] - found.segments[:, 0]
    assert float(longest.max()) <= longest_grid * GRID.step_sec, "the test compares what neither leaves out"
    return sorted(
        (round(float(start), 3), round(float(end), 3), trained.class_names[label])
        for (start, end), label in zip(found.segments[keep].tolist(), found.labels[keep].tolist(), strict=True)
    )


@pytest.mark.parametrize("core_grid", [1, 16, 50])
def test_a_stream_gives_what_the_whole_gives(core_grid: int) -> None:
    trained = trained_on_nothing()
    features = torch.randn(300, 6) * torch.repeat_interleave(torch.rand(30) < 0.2, 10)[:, None] * 3
    longest = 200 * GRID.step_sec
    detector = StreamDetector(trained, GRID, least_score=SCORE, longest_sec=longest, core_grid=core_grid)
    found = streamed(detector, features)
    expected = as_one(trained, features, 200)
    assert len(expected) > 3
    assert sorted((round(a.start_sec, 3), round(a.end_sec, 3), a.label) for a in found) == expected


def test_actions_come_before_the_end_and_memory_is_bounded() -> None:
    trained = trained_on_nothing()
    reach = receptive_field(trained.config.model)
    assert reach is not None
    detector = StreamDetector(trained, GRID, least_score=SCORE, longest_sec=1.6, core_grid=8)
    held, early = 0, []
    generator = torch.Generator().manual_seed(0)
    for step in range(1500):
        loud = step // 20 % 3 == 0
        early += detector.add([torch.randn(6, generator=generator) * 3 * loud])
        held = max(held, len(detector._features))
    assert held <= reach.left_grid + reach.right_grid + 8 + 3 * trained.detector.length_multiple
    assert early
    end_sec = GRID.covered_sec(1500)
    assert len(early) > 2 * len(list(detector.end()))
    for action in early:
        assert 0 <= action.start_sec <= action.end_sec <= action.known_at_sec <= end_sec
        assert action.delay_sec == action.known_at_sec - action.end_sec
        assert action.score >= SCORE


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_short_streams(steps: int) -> None:
    found = streamed(StreamDetector(trained_on_nothing(), GRID, least_score=SCORE), torch.randn(steps, 6))
    assert all(action.score >= SCORE for action in found)


def test_what_cannot_be_streamed() -> None:
    with pytest.raises(UnboundedReachError, match="looks at a recording as a whole"):
        StreamDetector(trained_on_nothing(attention_windows=(0,)), GRID)
    with pytest.raises(UnboundedReachError, match="absolute positions"):
        StreamDetector(trained_on_nothing(positions="absolute"), GRID)
    with pytest.raises(ValueError, match="--least-score must lie between 0 and 1"):
        StreamDetector(trained_on_nothing(), GRID, least_score=0.0)
    with pytest.raises(ValueError, match="--longest must be above 0"):
        StreamDetector(trained_on_nothing(), GRID, longest_sec=0.0)


def live(source: Path, **options: float) -> list[StreamedAction]:
    trained = trained_on_nothing(MotionBackbone.dim)
    return list(stream_actions(trained, str(source), least_score=0.4, **options))  # type: ignore[arg-type]


def test_a_pipe_a_file_and_a_growing_file_give_the_same(tmp_path: Path) -> None:
    pytest.importorskip("av")
    images = np.random.default_rng(0).integers(0, 256, (120, 48, 64, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "a.ts", images, codec="mpeg2video")
    data = path.read_bytes()
    expected = live(path, patience_sec=0.0)
    assert expected

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(data))
    writer.start()
    assert live(pipe) == expected
    writer.join()

    growing = tmp_path / "growing.ts"
    growing.write_bytes(data[: len(data) // 2])

    def grow() -> None:
        time.sleep(0.3)
        with growing.open("ab") as file:
            file.write(data[len(data) // 2 :])

    writer = threading.Thread(target=grow)
    writer.start()
    assert live(growing, patience_sec=1.0) == expected
    writer.join()


def test_sources_that_are_none(tmp_path: Path) -> None:
    pytest.importorskip("av")
    with pytest.raises(FileNotFoundError, match=r"--stream .*none\.ts does not exist"):
        live(tmp_path / "none.ts")
    with pytest.raises(ValueError, match="neither a file nor a pipe"), arriving(str(tmp_path), 0.0):
        pass
    (tmp_path / "text.ts").write_text("no video\n" * 1000)
    with pytest.raises(VideoError, match=r"--stream .*text\.ts: is no video"):
        live(tmp_path / "text.ts", patience_sec=0.0)
