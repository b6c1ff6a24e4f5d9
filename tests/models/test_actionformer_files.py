# SPDX-License-Identifier: Apache-2.0
"""ActionFormer's files as they are published, and every way in which they are not."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from asl_fast.models.actionformer_files import looks_like_actionformer, model_of, read_published, read_state_dict
from asl_fast.models.config import InferenceConfig
from asl_fast.models.convert_actionformer import convert_inference, padded_length
from asl_fast.models.detector import ActionDetector
from tests.models.published import as_published, write_published

pytest.importorskip("yaml", reason="needs pyyaml")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_published(tmp_path)


def test_averaged_weights_are_read_and_fit(files: tuple[Path, Path]) -> None:
    weights, config = files
    state, keywords, _ = as_published()
    found = read_published(weights, config)
    expected = ActionDetector.from_actionformer(state, keywords)
    assert found.model == expected.config
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.weights[name], tensor), name


def test_a_bare_state_dict_and_one_trained_with_our_loss_are_read(files: tuple[Path, Path]) -> None:
    weights, config = files
    state = torch.load(weights, weights_only=True)["state_dict_ema"]
    torch.save(state, weights)
    assert len(read_published(weights, config).weights) == len(state)
    torch.save(state | {"module.asl_loss.loss_normalizer": torch.tensor(1.0)}, weights)
    assert len(read_published(weights, config).weights) == len(state)


def rewrite(path: Path, **changes: Any) -> None:
    content = torch.load(path, weights_only=True)
    content["state_dict_ema"] = content["state_dict_ema"] | {k.replace("__", "."): v for k, v in changes.items()}
    torch.save(content, path)


def test_a_yaml_that_belongs_to_another_checkpoint_is_named_with_the_weight(files: tuple[Path, Path]) -> None:
    weights, config = files
    text = config.read_text()
    config.write_text(text.replace("num_classes: 3", "num_classes: 9"))
    with pytest.raises(ValueError, match=r"e\.pth\.tar: 'cls_head\.cls_head\.conv\.weight' has shape \(3, .*\(9, "):
        read_published(weights, config)
    config.write_text(text)
    rewrite(weights, module__extra__weight=torch.zeros(3))
    with pytest.raises(ValueError, match=r"'extra\.weight' is no weight of the model that .*c\.yaml describes"):
        read_published(weights, config)
    content = torch.load(weights, weights_only=True)["state_dict_ema"]
    torch.save({k: v for k, v in content.items() if "cls_head.cls_head" not in k and "extra" not in k}, weights)
    with pytest.raises(ValueError, match=r"has no weights for 'classification_head\.tower\.output\.weight'"):
        read_published(weights, config)


def test_weights_that_are_no_numbers_are_named(files: tuple[Path, Path]) -> None:
    weights, _ = files
    rewrite(weights, module__cls_head__cls_head__conv__bias=torch.full((3,), float("nan")))
    with pytest.raises(ValueError, match=r"'cls_head\.cls_head\.conv\.bias' holds NaN"):
        read_published(*files)


class Runs:
    def __reduce__(self) -> Any:
        return print, ("this code ran",)


def test_nothing_in_a_checkpoint_runs(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    weights, _ = files
    torch.save({"state_dict_ema": {}, "args": Runs()}, weights)
    with pytest.raises(ValueError, match="holds more than tensors and plain values, which is not read"):
        read_state_dict(weights)
    weights.write_bytes(pickle.dumps(Runs(), protocol=2))
    with pytest.raises(ValueError, match=r"e\.pth\.tar"):
        read_state_dict(weights)
    assert "this code ran" not in capsys.readouterr().out


def test_other_files_are_said_in_a_line(files: tuple[Path, Path]) -> None:
    weights, _ = files
    good = weights.read_bytes()
    for content, message in (
        (good[: len(good) // 2], "truncated or no checkpoint"),
        (b"", "truncated or no checkpoint"),
    ):
        weights.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_state_dict(weights)
    for saved, message in (
        ({"format": 1, "config": {}, "dataset": {}}, "is a checkpoint of asl_fast, not of ActionFormer"),
        ([1, 2], "holds a list, not weights by name"),
        ({"epoch": 3}, "'epoch' is a int"),
        ({"state_dict": {"module.rpn_head.scale.0.scale": torch.ones(1)}}, "is a checkpoint of OpenTAD"),
    ):
        torch.save(saved, weights)
        with pytest.raises(ValueError, match=message) as found:
            read_state_dict(weights)
        assert str(weights) in str(found.value)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"e\.pth\.tar"):
        read_state_dict(weights)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [unclosed", r"c\.yaml is no YAML file: .*line 1"),
        ("just text", "has no 'model' and no 'dataset'"),
        ("model: 3", "'model' must hold keys and values, found 3"),
        ("model: {n_head: four}", r"c\.yaml: num_heads|c\.yaml: .*num_heads must be int, found 'four'"),
        ("model: {scale_factor: 3}", "scale_factor must be 2, found 3"),
        ("model: {backbone_arch: 5}", r"c\.yaml: "),
        ("model_name: TriDet\nmodel: {}", "model_name must be LocPointTransformer, found 'TriDet'"),
    ],
)
def test_other_yaml_files_are_said_in_a_line(files: tuple[Path, Path], text: str, message: str) -> None:
    _, config = files
    config.write_text(text)
    with pytest.raises(ValueError, match=message) as found:
        read_published(*files)
    assert str(found.value).count(str(config)) == 1


def test_post_processing_of_published_files() -> None:
    assert convert_inference({}) == InferenceConfig(
        candidates_per_level=5000, min_score=0.01, max_segments=1000, class_agnostic=False
    )
    thumos = {"voting_thresh": 0.7, "pre_nms_topk": 2000, "max_seg_num": 200, "min_score": 0.001}
    assert convert_inference({"test_cfg": thumos}) == InferenceConfig()
    unlimited = convert_inference({"test_cfg": thumos | {"nms_method": "none", "min_score": 0.1}})
    assert unlimited == InferenceConfig(nms="none", min_score=0.0, max_segments=0)
    votes = convert_inference({"test_cfg": thumos | {"multiclass_nms": False, "nms_method": "hard"}})
    assert (votes.class_agnostic, votes.voting_threshold, votes.nms) == (True, 0.7, "hard")
    with pytest.raises(ValueError, match=r"test_cfg\.nms_method must be one of soft, hard, none, found 'fast'"):
        convert_inference({"test_cfg": {"nms_method": "fast"}})


def test_recordings_are_padded_where_actionformer_pads_them() -> None:
    _, keywords, _ = as_published()
    model = model_of(keywords, Path("c.yaml"))
    longest, coarsest = model.max_length_grid, 2 ** (model.num_levels - 1)
    assert padded_length(model, longest) == longest
    for steps in (1, coarsest, coarsest + 1, longest - 1, longest + 1, 3 * longest - 5):
        padded = padded_length(model, steps)
        assert padded % coarsest == 0
        at_every_level = all(padded >> level > -(-steps >> level) for level in range(model.num_levels))
        assert at_every_level or padded - steps < coarsest
        assert padded <= max(longest, steps + max(model.windows) * coarsest)


def test_what_looks_like_a_checkpoint_of_actionformer() -> None:
    state, _, _ = as_published()
    assert looks_like_actionformer({"epoch": 1, "state_dict_ema": state})
    assert looks_like_actionformer({f"module.{name}": value for name, value in state.items()})
    others: tuple[Any, ...] = ({}, [], {"format": 1}, {"average": {"module": state}}, {"weight": torch.zeros(1)}, None)
    for other in others:
        assert not looks_like_actionformer(other)
