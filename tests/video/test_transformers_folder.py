# SPDX-License-Identifier: Apache-2.0
"""Backbones of the transformers package, tiny and with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from asl_fast import extract
from asl_fast.files import read_json
from asl_fast.video.cached import expected_backbone
from asl_fast.video.known import open_backbone
from asl_fast.video.options import Recipe
from asl_fast.video.pictures import IMAGENET_MEAN, IMAGENET_SD, Pictures, spread
from asl_fast.video.processor_file import read_processor
from tests.video.clips import write_clip

transformers: Any = pytest.importorskip("transformers", exc_type=ImportError)
SIZE, FRAMES, WINDOW = 32, 4, 8
COMMON = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
PLAIN = Pictures(SIZE, (SIZE, SIZE))


def make(kind: str) -> Any:
    """Make a model of random weights."""
    if kind == "videomae":
        sizes = {"image_size": SIZE, "patch_size": 16, "num_frames": FRAMES, "tubelet_size": 2}
        return transformers.VideoMAEModel(transformers.VideoMAEConfig(**sizes, **COMMON))
    if kind == "timesformer":
        sizes = {"image_size": SIZE, "patch_size": 16, "num_frames": FRAMES}
        return transformers.TimesformerModel(transformers.TimesformerConfig(**sizes, **COMMON))
    if kind == "vjepa2":
        sizes = {"crop_size": SIZE, "patch_size": 16, "frames_per_clip": FRAMES, "tubelet_size": 2, "hidden_size": 24}
        predictor = {"pred_hidden_size": 24, "pred_num_hidden_layers": 1, "pred_num_attention_heads": 2}
        depth = {"num_hidden_layers": 2, "num_attention_heads": 2}
        return transformers.VJEPA2Model(transformers.VJEPA2Config(**sizes, **predictor, **depth))
    text = {**COMMON, "vocab_size": 50, "max_position_embeddings": 8}
    vision = {**COMMON, "image_size": SIZE, "patch_size": 16, "projection_dim": 12}
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))


def tiny(kind: str, folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    make(kind).save_pretrained(folder)
    return folder


def expected_vector(kind: str, folder: Path, frames: Tensor) -> Tensor:
    """Compute what the documentation of ``KINDS`` says, with the model as the package itself loads it."""
    if kind == "clip":
        model = transformers.CLIPModel.from_pretrained(folder).eval()
        vectors = model.visual_projection(model.vision_model(pixel_values=frames.flatten(0, 1)).pooler_output)
        return vectors.reshape(len(frames), FRAMES, -1).mean(dim=1)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    if kind == "vjepa2":
        return model.get_vision_features(frames).mean(dim=1)
    tokens = model(pixel_values=frames).last_hidden_state
    return tokens[:, 0] if kind == "timesformer" else tokens.mean(dim=1)


MEANS = {
    "videomae": (IMAGENET_MEAN, IMAGENET_SD, SIZE),
    "timesformer": ((0.45,) * 3, (0.225,) * 3, SIZE),
    "vjepa2": (IMAGENET_MEAN, IMAGENET_SD, 36),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), SIZE),
}


@pytest.mark.parametrize("kind", MEANS)
def test_each_kind_gives_what_the_package_gives(tmp_path: Path, kind: str) -> None:
    folder = tiny(kind, tmp_path / "model")
    backbone = open_backbone(kind, folder, window=WINDOW)
    mean, sd, shorter = MEANS[kind]
    mode = "bicubic" if kind == "clip" else "bilinear"
    as_published = Pictures(shorter, (SIZE, SIZE), mean, sd, mode)
    assert backbone.extraction.preprocessing == as_published.words

    images = np.random.default_rng(0).integers(0, 256, (3, WINDOW, 60, 80, 3), dtype=np.uint8)
    windows = np.stack([np.stack([backbone.prepare(image) for image in each]) for each in images])
    found = backbone.features(windows)
    with torch.inference_mode():
        frames = as_published.colours(windows[:, spread(FRAMES, WINDOW)], torch.device("cpu"))
        expected = expected_vector(kind, folder, frames).numpy()
    assert found.shape == (3, backbone.dim)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found, np.concatenate([backbone.features(each[None]) for each in windows]))
    half = open_backbone(kind, folder, window=WINDOW, precision="bf16")
    np.testing.assert_allclose(half.features(windows), expected, atol=0.1)
    assert "precision" in (backbone.extraction.difference(half.extraction) or "")


def test_other_weights_and_another_preparation_are_told_apart(tmp_path: Path) -> None:
    first = open_backbone("timesformer", tiny("timesformer", tmp_path / "a")).extraction
    other = open_backbone("timesformer", tiny("timesformer", tmp_path / "b", seed=1)).extraction
    assert (first.difference(other) or "").startswith("weights ")
    recipe = Recipe("timesformer", tmp_path / "b")
    assert expected_backbone(recipe, "cpu", other).extraction == other
    with pytest.raises(ValueError, match=r"made in another way than these would be: weights .*; --weights names"):
        expected_backbone(recipe, "cpu", first)
    (tmp_path / "a" / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0]}')
    with pytest.raises(ValueError, match="in another way than these would be: preprocessing"):
        expected_backbone(Recipe("timesformer", tmp_path / "a"), "cpu", first)
    assert "preprocessing" in (first.difference(open_backbone("timesformer", tmp_path / "a").extraction) or "")


@pytest.mark.parametrize("kind", ["clip", "vjepa2"])
def test_from_videos_to_features(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av")
    folder = tiny(kind, tmp_path / "model")
    (tmp_path / "videos").mkdir()
    for name, number in (("a.mp4", 21), ("b.mp4", 8)):
        write_clip(tmp_path / "videos" / name, number)
    words = ["--videos", str(tmp_path / "videos"), "--backbone", kind, "--weights", str(folder), "--stride", "4"]
    for batch_size in ("1", "5"):
        output = ["--output", str(tmp_path / batch_size), "--batch-size", batch_size]
        assert extract.main([*words, *output, "--window", str(WINDOW)]) == 0
    for name, windows in (("a", 4), ("b", 1)):
        found = [(tmp_path / batch_size / f"{name}.npy").read_bytes() for batch_size in ("1", "5")]
        assert found[0] == found[1] and len(np.load(tmp_path / "1" / f"{name}.npy")) == windows
    manifest = read_json(tmp_path / "1" / "manifest.json")
    assert manifest["extraction"]["backbone"] == kind and manifest["window_frame"] == WINDOW
    capsys.readouterr()
    status = extract.main([*words, "--window", "3", "--output", str(tmp_path / "none")])
    if kind == "clip":  # which takes single frames
        assert status == 0
    else:
        assert status == 2 and not (tmp_path / "none").exists()
        assert "takes 4 frames, more than a window of 3: give --window 4 or more" in capsys.readouterr().err


def test_weights_that_are_not_all_there_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny("videomae", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layer.1." not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"model lacks \d+ weights of a videomae model, the first '.*layer\.1\."):
        open_backbone("videomae", folder)
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="model cannot be loaded as videomae"):
        open_backbone("videomae", folder)
    with pytest.raises(ValueError, match="of a 'videomae' model, not of 'clip'"):
        open_backbone("clip", folder)


def test_an_id_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    folder, asked = tiny("timesformer", tmp_path / "model"), []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append(name)
        if name != "owner/tiny":
            raise RuntimeError("404: no such model\nand much more")
        assert {"config.json", "*.safetensors", "preprocessor_config.json"} <= set(allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = open_backbone("timesformer", Path("owner/tiny")).extraction
    assert found.weights == "owner/tiny"
    assert found.difference(open_backbone("timesformer", folder).extraction) is None
    with pytest.raises(OSError, match=r"--weights owner/none is no folder, and cannot be .* \(404: no such model\)$"):
        open_backbone("timesformer", Path("owner/none"))
    for place in (tmp_path / "none", Path("none"), Path("../none")):
        with pytest.raises(FileNotFoundError, match=r"no config\.json there"):
            open_backbone("timesformer", place)
    assert asked == ["owner/tiny", "owner/none"]


def test_their_own_preparation_of_frames(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    theirs = transformers.CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size=SIZE)
    theirs.save_pretrained(tmp_path)
    pictures = read_processor(tmp_path, PLAIN)
    assert (pictures.size, pictures.crop, pictures.mode) == (40, (SIZE, SIZE), "bicubic")
    rows, columns = np.mgrid[:60, :90]
    image = np.stack([rows * 4, columns * 2, (rows + columns) % 256], axis=-1).astype(np.uint8)
    mine = pictures.colours(pictures.prepare(image), torch.device("cpu")).numpy()
    np.testing.assert_allclose(mine, theirs(image)["pixel_values"][0], atol=3 / 255 / 0.26)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ({"size": 40}, "shorter side 40 bilinear, middle 32 x 32"),
        ({"size": {"height": 32, "width": 32}, "do_center_crop": False}, "frame 32 x 32 bilinear, middle 32 x 32"),
        ({"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "resample": 3}, "36 bicubic"),
        ({"do_normalize": False}, "mean 0 0 0, std 1 1 1"),
        ({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25] * 3}, "mean 0.5 0.5 0.5, std 0.25 0.25 0.25"),
    ],
)
def test_what_preparations_are_read_as(tmp_path: Path, content: dict[str, Any], shown: str) -> None:
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        (tmp_path / name).write_text(json.dumps(content))
        assert shown in read_processor(tmp_path, PLAIN).words
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    (tmp_path / "preprocessor_config.json").write_text("[]")
    assert shown in read_processor(tmp_path, PLAIN).words


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected keys and values"),
        ({"rescale_factor": 1 / 127.5}, "not scaled from 0 to 1"),
        ({"do_rescale": False}, "not scaled from 0 to 1"),
        ({"resample": 1}, "'resample' 1 is not supported"),
        ({"crop_size": 24}, "cut to 24 x 24 pixels, but the network beside it takes 32 x 32"),
        ({"size": 24}, "no larger than the frame"),
        ({"size": {"longest_edge": 32}}, "'size' .* is not supported"),
        ({"image_std": [0, 1, 1]}, "std above 0"),
    ],
)
def test_preparations_that_are_refused(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"preprocessor_config\.json: .*{message}"):
        read_processor(tmp_path, PLAIN)
