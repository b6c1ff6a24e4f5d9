# SPDX-License-Identifier: Apache-2.0
"""The share of padding that is told beforehand is that of the batches of training."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asl_fast.training.loader import TrainLoader
from benchmarks.padding import epoch_times, main, padded_and_all
from tests.training.tiny import tiny_bundle, tiny_config


@pytest.mark.parametrize("bucket", [False, True])
@pytest.mark.parametrize("pad_multiple", [0, 8])
def test_it_is_that_of_the_batches(bucket: bool, pad_multiple: int) -> None:
    split = tiny_bundle(num_train=21).train.with_options(max_length=48, crop_ratio=(0.3, 1.0))
    config = tiny_config()
    config = replace(config, data=replace(config.data, pad_multiple=pad_multiple, bucket_by_length=bucket))
    loader = TrainLoader(split, config.data, 2, seed=0, length_multiple=2)
    batches = [batch for epoch in range(2) for batch in loader.epoch(epoch)]
    expected = sum(batch.num_padded for batch in batches), sum(batch.mask.numel() for batch in batches)
    assert padded_and_all(config, split, epochs=2) == expected
    assert 0 < expected[0] < expected[1]


def test_a_row_says_what_buckets_save(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dataset", "charades", "--preset", "smoke"]) == 0
    name, batch, multiple, before, after, steps = capsys.readouterr().out.splitlines()[-1].strip("| ").split(" | ")
    assert (name, batch, multiple) == ("charades", "4", "64")
    assert float(after.rstrip("%")) < float(before.rstrip("%"))
    assert 50 < float(steps.rstrip("%")) < 100


def test_epochs_of_both_kinds_are_timed() -> None:
    bundle, config = tiny_bundle(num_train=5), tiny_config()
    times = epoch_times(replace(config, data=replace(config.data, pad_multiple=8)), bundle, 1)
    assert times.shuffled > 0 and times.bucketed > 0
    assert times.ratio == pytest.approx(times.bucketed / times.shuffled)
    with pytest.raises(SystemExit):
        main(["--train", "-1"])
