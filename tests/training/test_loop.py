# SPDX-License-Identifier: Apache-2.0
"""The training loop on a tiny problem: it learns, logs, saves, and stops with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asl_fast.data.bundle import DatasetBundle
from asl_fast.evaluation.protocols import evaluate_protocol, run_protocol
from asl_fast.models.config import InferenceConfig
from asl_fast.models.postprocess import Detections
from asl_fast.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from asl_fast.training.config import EvaluationConfig, OptimizerConfig, TrainConfig
from asl_fast.training.loop import NonFiniteLossError, Result, train
from asl_fast.training.metrics_log import read_metrics
from asl_fast.training.presets import with_variant
from asl_fast.training.run_folder import RunFolder
from asl_fast.training.scoring import ground_truth_columns, predict, prediction_columns
from asl_fast.training.step import StepNumbers, TrainStep
from tests.training.tiny import CPU, tiny_bundle, tiny_config


def run(config: TrainConfig, folder: Path, bundle: DatasetBundle | None = None, **options: Any) -> Result:
    """Trains in a folder."""
    run_folder = RunFolder(folder)
    run_folder.create()
    return train(config, bundle or tiny_bundle(), run_folder, CPU, dataset_record={"name": "tiny"}, **options)


def test_it_learns(tmp_path: Path) -> None:
    config = tiny_config(epochs=20, batch_size=4, optimizer=OptimizerConfig(lr=1e-2))
    result = run(config, tmp_path, tiny_bundle(num_train=16))
    epochs = [record for record in read_metrics(tmp_path / "metrics.jsonl") if record["kind"] == "epoch"]
    assert epochs[-1]["total"] < 0.5 * epochs[0]["total"]
    # Chance is below 0.05 here.
    assert result.scores.average_map > 0.5


@pytest.mark.parametrize("variant", ["plain", "constant", "p", "q", "asl"])
def test_every_variant_trains(tmp_path: Path, variant: str) -> None:
    result = run(with_variant(tiny_config(), variant), tmp_path)
    assert np.isfinite(result.scores.average_map)
    record = read_metrics(tmp_path / "metrics.jsonl")[0]
    assert (record["sensitivity"] > 0) == (variant in ("q", "asl"))


def test_every_step_is_logged(tmp_path: Path) -> None:
    config = tiny_config(log_every=2, evaluation=EvaluationConfig(every=2, strict_thresholds=(0.9,)))
    run(config, tmp_path)
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert Counter(record["kind"] for record in records) == {"step": 9, "epoch": 3, "evaluation": 2}
    steps = [record for record in records if record["kind"] == "step"]
    assert [record["step"] for record in steps] == list(range(9))
    assert steps[0]["lr"] == 0.0
    assert steps[3]["lr"] == config.optimizer.lr
    assert all(record["total"] > 0 and record["grad_norm"] > 0 for record in steps)
    evaluations = [record for record in records if record["kind"] == "evaluation"]
    assert [record["epoch"] for record in evaluations] == [1, 2]
    assert {"average_map", "map@0.5", "strict_average_map"} <= set(evaluations[0])


def test_best_checkpoint_is_the_best_evaluation(tmp_path: Path) -> None:
    config = tiny_config(epochs=6, evaluation=EvaluationConfig(every=1), optimizer=OptimizerConfig(lr=5e-3))
    run(config, tmp_path)
    records = [record for record in read_metrics(tmp_path / "metrics.jsonl") if record["kind"] == "evaluation"]
    best = max(record["average_map"] for record in records)
    first = next(record["epoch"] for record in records if record["average_map"] == best)
    content = load_checkpoint(tmp_path / "checkpoints" / "best.pt")
    assert (content["epoch"], content["best_map"]) == (first + 1, best)
    assert load_checkpoint(tmp_path / "checkpoints" / "last.pt")["epoch"] == 7


def test_averaged_weights_are_scored(tmp_path: Path) -> None:
    config = tiny_config()
    bundle = tiny_bundle()
    result = run(config, tmp_path, bundle)
    averaged = predict(
        result.state.average.module, bundle.test, config.inference, batch_size=1, autocast=False, processes=CPU
    )
    plain = predict(result.state.detector, bundle.test, config.inference, batch_size=1, autocast=False, processes=CPU)
    # Batches of one against batches of four: padding changes the order of sums, nothing else.
    np.testing.assert_allclose(result.predictions["scores"], averaged["scores"], rtol=1e-4, atol=1e-6)
    assert not np.allclose(plain["scores"][:10], averaged["scores"][:10], rtol=1e-4)


def test_same_seed_same_weights(tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> torch.Tensor:
        state = run(tiny_config(seed=seed), tmp_path / name).state.detector.state_dict()
        return torch.cat([value.flatten() for value in state.values()])

    first = weights("a", 1)
    assert torch.equal(first, weights("b", 1))
    assert not torch.equal(first, weights("c", 2))


def test_resuming_a_finished_run_only_scores_it(tmp_path: Path) -> None:
    first = run(tiny_config(), tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    again = run(tiny_config(), tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    np.testing.assert_array_equal(first.predictions["scores"], again.predictions["scores"])


def test_resuming_with_another_configuration_is_refused(tmp_path: Path) -> None:
    run(tiny_config(), tmp_path)
    with pytest.raises(CheckpointError, match="epochs 2 there, 1 now; batch_size 2 there, 3 now"):
        run(tiny_config(epochs=1, batch_size=3), tmp_path, resume=True)


def test_a_finished_run_can_be_extended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tiny_config(), tmp_path)
    before = read_metrics(tmp_path / "metrics.jsonl")
    result = run(tiny_config(epochs=4), tmp_path, resume=True)
    assert (
        "extended from 3 to 5 epochs: from epoch 4 on the learning rate follows the longer" in capsys.readouterr().out
    )
    after = read_metrics(tmp_path / "metrics.jsonl")
    assert (result.state.epoch, after[: len(before)]) == (5, before)
    rates = [record["lr"] for record in after if record["kind"] == "step"]
    # The warm-up has 3 steps, the cosine 12 from there.
    assert rates[9:] == pytest.approx([1e-8 + (1e-3 - 1e-8) * (1 + np.cos(np.pi * k / 12)) / 2 for k in range(6, 12)])
    with pytest.raises(CheckpointError, match="epochs 4 there, 2 now"):
        run(tiny_config(), tmp_path, resume=True)


def test_another_way_of_scoring_may_be_chosen_on_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(evaluation=EvaluationConfig(every=1))
    run(config, tmp_path)
    other = replace(
        config, inference=InferenceConfig(min_score=0.2), evaluation=EvaluationConfig(tiou_thresholds=(0.9,))
    )
    rescored = run(other, tmp_path, resume=True)
    # The best of each class in each video stays.
    assert len(rescored.predictions["scores"]) == 6
    assert "scored by other rules" not in capsys.readouterr().out
    extended = run(replace(other, epochs=3), tmp_path, resume=True)
    said = (
        "scored by other rules from here on (inference.min_score 0.001 there, 0.2 now; evaluation.tiou_thresholds (0.3"
    )
    assert said in capsys.readouterr().out
    assert extended.state.best_epoch == 4


def test_divergence_is_named_and_keeps_the_last_good_epoch(tmp_path: Path) -> None:
    run(tiny_config(epochs=1), tmp_path)
    good = (tmp_path / "checkpoints" / "last.pt").read_bytes()
    with pytest.raises(NonFiniteLossError, match=r"diverged at step \d+ in epoch \d+: .*total.*--optimizer.lr"):
        run(tiny_config(optimizer=OptimizerConfig(lr=1e38, clip_norm=0)), tmp_path)
    assert (tmp_path / "checkpoints" / "last.pt").read_bytes() == good


def test_a_weight_that_becomes_infinite_in_the_last_step_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses of the epoch are all finite then."""
    run(tiny_config(epochs=1), tmp_path)
    good = (tmp_path / "checkpoints" / "last.pt").read_bytes()
    step = TrainStep.__call__

    def last_step_fails(self: TrainStep, *args: Any) -> StepNumbers:
        numbers = step(self, *args)
        if self.state.step == 3:
            self.state.parameters[0].data[0] = float("inf")
        return numbers

    monkeypatch.setattr(TrainStep, "__call__", last_step_fails)
    with pytest.raises(NonFiniteLossError, match=r"diverged in epoch 1: detector\..* is inf"):
        run(tiny_config(epochs=1), tmp_path)
    assert (tmp_path / "checkpoints" / "last.pt").read_bytes() == good


@pytest.mark.parametrize("part", ["detector", "loss", "average"])
def test_resuming_from_weights_that_are_no_numbers_is_refused(tmp_path: Path, part: str) -> None:
    run(tiny_config(), tmp_path)
    path = tmp_path / "checkpoints" / "last.pt"
    content = load_checkpoint(path)
    weights = content[part]["module"] if part == "average" else content[part]
    next(value for value in weights.values() if value.is_floating_point()).fill_(float("nan"))
    save_checkpoint(path, content)
    with pytest.raises(CheckpointError, match=rf"last\.pt: {part}\..* is nan"):
        run(tiny_config(), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("optimizer"), "lacks 'optimizer'"),
        (lambda c: c.update(epoch=-1), "'epoch' is -1"),
        (lambda c: c.update(step="many"), "'step' is 'many'"),
        (lambda c: c["config"]["model"].pop("width"), r"missing model\.width"),
        (lambda c: c["detector"].popitem(), r"lacks detector\..*; does its configuration belong"),
        (lambda c: c["loss"].update(extra=torch.zeros(1)), r"loss\.extra is unknown"),
        (lambda c: c["average"].pop("module"), "average holds NoneType, not weights"),
        (lambda c: c["average"].pop("num_updates"), "does not fit: KeyError"),
        (lambda c: c["optimizer"]["param_groups"].pop(), r"optimizer has groups of .* parameters, expected"),
        (
            lambda c: c["optimizer"]["state"][0].update(exp_avg=torch.zeros(1)),
            r"optimizer\.state\[0\]\.exp_avg has shape",
        ),
        (lambda c: c["optimizer"]["state"][0].pop("step"), r"lacks optimizer\.state\[0\]\.step"),
        (lambda c: c["rng"][0].pop("numpy"), "does not fit: KeyError"),
        (lambda c: c["rng"][0].update(torch=torch.zeros(3)), "does not fit: "),
    ],
)
def test_a_checkpoint_that_does_not_fit_says_where(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    run(tiny_config(epochs=0), tmp_path)
    path = tmp_path / "checkpoints" / "last.pt"
    content = load_checkpoint(path)
    change(content)
    save_checkpoint(path, content)
    with pytest.raises(CheckpointError, match=message) as caught:
        run(tiny_config(epochs=0), tmp_path, resume=True)
    assert str(path) in str(caught.value)


def test_bfloat16_trains_with_float32_losses(tmp_path: Path) -> None:
    single, half = (run(tiny_config(precision=p), tmp_path / p) for p in ("fp32", "bf16"))
    assert all(p.dtype == torch.float32 for p in half.state.detector.parameters())
    losses = [read_metrics(tmp_path / p / "metrics.jsonl")[0]["total"] for p in ("fp32", "bf16")]
    assert losses[0] != losses[1]
    # bfloat16 has 8 bits of mantissa.
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
    assert len(single.predictions["scores"]) > 0


def test_compiling_does_not_change_the_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_module = torch.compile
    # The default back end would spend a minute in the C++ compiler; tracing is what can go wrong here.
    monkeypatch.setattr(torch, "compile", lambda call: compile_module(call, backend="aot_eager"))
    shallow = replace(tiny_config().model, num_levels=1, stem_blocks=1, embedding_layers=1, head_layers=2)
    for name in (False, True):
        run(tiny_config(compile=name, epochs=1, warmup_epochs=0, model=shallow), tmp_path / str(name))
    eager, compiled = (
        [record["total"] for record in read_metrics(tmp_path / name / "metrics.jsonl") if record["kind"] == "step"]
        for name in ("False", "True")
    )
    assert compiled == pytest.approx(eager, rel=1e-4)


def test_a_detector_that_finds_nothing_scores_zero() -> None:
    bundle = tiny_bundle()
    nothing = Detections(torch.empty(0, 2), torch.empty(0), torch.empty(0, dtype=torch.int64))
    columns = prediction_columns([(video.id, nothing) for video in bundle.test.videos])
    assert columns["segments"].shape == (0, 2)
    protocol = run_protocol("tiny", vars(tiny_config().evaluation))
    scores = evaluate_protocol(protocol, ground_truth_columns(bundle.test.videos), columns)
    assert scores.average_map == 0.0


def test_ground_truth_leaves_reversed_segments_out() -> None:
    video = tiny_bundle().test.videos[0]
    broken = replace(video, segments_sec=np.array([[3.0, 1.0], [2.0, 2.0], [5.0, 999.0]]), labels=np.array([0, 1, 1]))
    columns = ground_truth_columns([broken])
    np.testing.assert_array_equal(columns["segments"], [[2.0, 2.0], [5.0, 999.0]])
    np.testing.assert_array_equal(columns["labels"], [1, 1])
    assert set(columns["video"]) == {video.id}


def test_features_that_go_bad_while_training_are_named(tmp_path: Path) -> None:
    bundle = tiny_bundle()

    class Store:
        dim = bundle.feature_dim

        def load(self, video_id: str) -> np.ndarray[Any, Any]:
            if video_id == "video3":
                raise ValueError("video3.npy: value nan at step 3, channel 1; extract these features again")
            return bundle.train.store.load(video_id)

        def length(self, video_id: str) -> int:
            return bundle.train.store.length(video_id)

        def __contains__(self, video_id: object) -> bool:
            return True

    train_split = bundle.train.with_options()
    train_split.store = Store()
    with pytest.raises(ValueError, match=r"video3.npy: value nan at step 3"):
        run(tiny_config(), tmp_path, replace(bundle, train=train_split))
