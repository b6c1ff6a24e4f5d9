# SPDX-License-Identifier: Apache-2.0
"""Backbones of torchvision and timm, where these are; neither fits every build of torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from asl_fast.video.known import open_backbone
from asl_fast.video.pictures import spread

try:
    import timm
    import torchvision
except (ImportError, RuntimeError):  # RuntimeError: torchvision of another torch
    timm = torchvision = None
needs_both = pytest.mark.skipif(timm is None, reason="torchvision and timm do not load here")
WINDOW = 6


def features(name: str, weights: Path, precision: str = "fp32") -> tuple[np.ndarray, torch.Tensor, int]:
    """Return the features of two windows, and the frames that the network got for them."""
    backbone = open_backbone(name, weights, window=WINDOW, precision=precision)
    images = np.random.default_rng(0).integers(0, 256, (2, WINDOW, 60, 80, 3), dtype=np.uint8)
    windows = np.stack([np.stack([backbone.prepare(image) for image in each]) for each in images])
    found = backbone.features(windows)
    np.testing.assert_array_equal(found, np.concatenate([backbone.features(each[None]) for each in windows]))
    return found, torch.from_numpy(windows).permute(0, 1, 4, 2, 3) / 255, backbone.dim


@needs_both
def test_pictures_by_timm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=7).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    found, frames, dim = features("timm:test_vit", tmp_path / "weights.pth")
    chosen = (frames[:, spread(4, WINDOW)] - 0.5) / 0.5
    with torch.inference_mode():
        vectors = model.forward_head(model.forward_features(chosen.flatten(0, 1)), pre_logits=True)
    assert found.shape == (2, dim)
    np.testing.assert_allclose(found, vectors.unflatten(0, (2, 4)).mean(dim=1).numpy(), atol=1e-5)
    half, _, _ = features("timm:test_vit", tmp_path / "weights.pth", "bf16")
    np.testing.assert_allclose(half, found, atol=0.1)


@needs_both
def test_videos_by_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torchvision.models.video.mc3_18(num_classes=3).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    found, frames, dim = features("torchvision:mc3_18", tmp_path / "weights.pth")
    mean, sd = (
        torch.tensor(each)[:, None, None] for each in ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
    )
    assert frames.shape[-2:] == (112, 112) and dim == 512
    model.fc = torch.nn.Identity()
    with torch.inference_mode():
        expected = model(((frames - mean) / sd).transpose(1, 2))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


@needs_both
def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content, message in (
        ({"x": torch.zeros(3)}, "is not of this model: it lacks"),
        ({**timm.create_model("test_vit").state_dict(), "x": torch.zeros(3)}, "it holds 'x', which the model does not"),
        ({"epoch": 3, "model": {}}, "holds more than weights by name"),
        (timm.create_model("test_vit2").state_dict(), "weights.pth (does not fit|is not of this model)"),
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match=message):
            open_backbone("timm:test_vit", path)
    path.write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="cannot be read as weights"):
        open_backbone("timm:test_vit", path)
    with pytest.raises(ValueError, match=r"timm:test_vot is unknown; .*did you mean"):
        open_backbone("timm:test_vot", path)
    with pytest.raises(ValueError, match=r"torchvision:r3d_19 is unknown; .*did you mean 'r3d_18'"):
        open_backbone("torchvision:r3d_19", path)


def test_what_is_asked_for_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs --weights, the file of its weights"):
        open_backbone("timm:test_vit")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_backbone("timm:test_vit", tmp_path / "nowhere")


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is here")
def test_a_library_that_is_not_here_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").touch()
    with pytest.raises(ImportError, match=r"--backbone timm:test_vit needs timm, .*: pip install timm"):
        open_backbone("timm:test_vit", tmp_path / "weights.pth")
