# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asl_fast.video.known import open_backbone
from asl_fast.video.motion import MotionBackbone
from asl_fast.video.pictures import Pictures, read_pictures, spread

RNG = np.random.default_rng(0)


def pictures(number: int, height: int = 60, width: int = 80) -> list[np.ndarray]:
    return list(RNG.integers(0, 256, (number, height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(48, 64), (1, 1), (5, 7), (23, 33), (720, 1281)])
def test_motion_averages_frames_of_any_size(size: tuple[int, int]) -> None:
    flat = np.full((*size, 3), (10, 20, 250), np.uint8)
    prepared = MotionBackbone().prepare(flat)
    assert prepared.shape == (24, 32, 3)
    np.testing.assert_allclose(prepared, np.broadcast_to(np.float32([10, 20, 250]) / 255, prepared.shape), rtol=1e-6)


def test_motion_tells_where_to_things_move() -> None:
    backbone = MotionBackbone()

    def window(right: int, down: int) -> np.ndarray:
        frames = []
        for k in range(8):
            image = np.zeros((96, 128, 3), np.uint8)
            top, left = 36 + down * k, 50 + right * k
            image[top : top + 24, left : left + 24] = 255
            frames.append(backbone.prepare(image))
        return np.stack(frames)

    found = backbone.features(np.stack([window(3, 0), window(-3, 0), window(0, 3), window(0, 0)]))
    movement = found[:, 144:432].reshape(4, 2, 48, 3).sum(axis=(1, 2))
    assert found.shape == (4, backbone.dim)
    assert movement[0, 1] > 0.3 and movement[1, 1] < -0.3 and movement[2, 2] > 0.3
    np.testing.assert_array_equal(movement[3], 0)


@pytest.mark.parametrize("frames", [1, 2, 3, 16])
def test_motion_takes_windows_of_any_length(frames: int) -> None:
    backbone = MotionBackbone()
    prepared = np.stack([backbone.prepare(image) for image in pictures(frames)])[None]
    found = backbone.features(prepared)
    assert found.shape == (1, backbone.dim) and found.dtype == np.float32 and np.isfinite(found).all()


def test_pictures_scale_the_shorter_side_and_cut_the_middle() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 30:50] = 255
    prepared = Pictures(20, (20, 20)).prepare(image)
    assert prepared.shape == (20, 20, 3)
    assert prepared[:, 10].min() == 255 and prepared[:, :3].max() == 0 and prepared[:, 17:].max() == 0
    colours = Pictures(20, (20, 20), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).colours(prepared, torch.device("cpu"))
    squared = Pictures((20, 20), (20, 20)).prepare(image)
    assert squared[:, 8:12].min() == 255 and squared[:, :7].max() == 0 and squared[:, 13:].max() == 0
    assert colours.shape == (3, 20, 20) and colours.min() == -1 and colours.max() == 1
    assert spread(4, 16) == [2, 6, 10, 14] and spread(16, 16) == list(range(16))


@pytest.mark.parametrize(
    "content",
    [[], {"scale": 3}, {"size": 0}, {"size": 9999}, {"crop": 300}, {"std": [0, 1, 1]}, {"mean": [1]}, {"mode": "area"}],
)
def test_preparations_that_cannot_be(content: object) -> None:
    with pytest.raises(ValueError, match=r"^x\.json: "):
        read_pictures(content, "x.json", Pictures(224, (224, 224)))


class Network(nn.Module):
    """Takes frames in any order that ends with height and width."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(16 * 16, 7)

    def forward(self, frames: Tensor) -> Tensor:
        return self.layer(frames.flatten(-2)).flatten(1, -2).mean(dim=1)


def check_file(path: Path, network: nn.Module) -> None:
    """Compare the backbone of a file with the network in it; windows alone with windows together."""
    path.with_suffix(".json").write_text(json.dumps({"size": 16, "mean": [0, 0, 0], "std": [1, 1, 1]}))
    backbone = open_backbone(str(path), window=4)
    prepared = np.stack([np.stack([backbone.prepare(image) for image in pictures(4)]) for _ in range(5)])
    found = backbone.features(prepared)
    frames = torch.from_numpy(prepared).permute(0, 1, 4, 2, 3) / 255
    np.testing.assert_allclose(found, network(frames).detach().numpy(), atol=1e-5)
    np.testing.assert_array_equal(found, np.concatenate([backbone.features(each[None]) for each in prepared]))
    assert backbone.extraction.difference(open_backbone(str(path), window=4).extraction) is None


@pytest.mark.parametrize("shape", [(1, 4, 3, 16, 16), (1, 3, 4, 16, 16), (1, 3, 16, 16)])
def test_files_of_torch_export(tmp_path: Path, shape: tuple[int, ...]) -> None:
    network = Network().eval()
    torch.export.save(torch.export.export(network, (torch.zeros(shape),)), tmp_path / "network.pt2")
    check_file(tmp_path / "network.pt2", network)


def test_files_of_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    # By hand, as torch's exporter takes seconds.
    network = nn.Sequential(nn.Flatten(), nn.Linear(4 * 3 * 16 * 16, 7)).eval()
    weight, bias = (value.detach().numpy() for value in network[1].parameters())
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = make.make_graph(
        [
            make.make_node("Flatten", ["frames"], ["flat"], axis=1),
            make.make_node("Gemm", ["flat", "weight", "bias"], ["features"], transB=1),
        ],
        "network",
        [make.make_tensor_value_info("frames", kind, ["windows", 4, 3, 16, 16])],
        [make.make_tensor_value_info("features", kind, ["windows", 7])],
        [onnx.numpy_helper.from_array(weight, "weight"), onnx.numpy_helper.from_array(bias, "bias")],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "network.onnx")
    check_file(tmp_path / "network.onnx", network)
    # Large weights lie beside the file; others there are another backbone.
    onnx.save(model, tmp_path / "large.onnx", save_as_external_data=True, location="large.onnx.data", size_threshold=0)
    check_file(tmp_path / "large.onnx", network)
    before = open_backbone(str(tmp_path / "large.onnx"), window=4).extraction
    data = tmp_path / "large.onnx.data"
    data.write_bytes(data.read_bytes()[:-4] + np.float32(3).tobytes())
    after = open_backbone(str(tmp_path / "large.onnx"), window=4).extraction
    assert (before.difference(after) or "").startswith("weights ")


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for ending, what in ((".pt2", "torch.export"), (".onnx", "ONNX")):
        path = tmp_path / f"bad{ending}"
        path.write_bytes(b"nothing of use" * 10)
        with pytest.raises(ValueError, match=f"bad.* cannot be read as .*{what}"):
            open_backbone(str(path))


def test_a_network_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.pt2"
    torch.export.save(torch.export.export(nn.Linear(3, 3), (torch.zeros(2, 3),)), path)
    with pytest.raises(ValueError, match=r"takes \(2, 3\); expected \(windows, frames, 3, height, width\)"):
        open_backbone(str(path))


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("motoin", None, "did you mean 'motion'"),
        ("motion", "x", "has no weights"),
        ("videomae", None, "needs --weights"),
        ("videomae", "nowhere", "no config.json there"),
        ("nowhere.onnx", None, "does not exist"),
    ],
)
def test_wrong_names(name: str, weights: str | None, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_backbone(name, None if weights is None else Path(weights))


def test_a_network_of_more_frames_than_a_window_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.pt2"
    torch.export.save(torch.export.export(Network().eval(), (torch.zeros(1, 4, 3, 16, 16),)), path)
    with pytest.raises(ValueError, match=r"network\.pt2 takes 4 frames, more than a window of 3: give --window 4"):
        open_backbone(str(path), window=3)
