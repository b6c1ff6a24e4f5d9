# SPDX-License-Identifier: Apache-2.0
"""Training finds the sensitivities that a synthetic twin has planted in its features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.synthetic.features import SyntheticFeatureStore
from asl_fast.data.synthetic.twin import make_twin
from asl_fast.train import main
from benchmarks.recovery import recovery
from benchmarks.recovery_bound import best_correlations, least_errors
from benchmarks.recovery_bound import main as main_of_bound


@pytest.mark.slow
def test_planted_sensitivities_are_recovered(tmp_path: Path) -> None:
    """The detector is narrow, for speed: the signal does not depend on how good it is."""
    status = main(
        [
            *("--dataset", "multithumos", "--preset", "smoke", "--variant", "p", "--seed", "1", "--threads", "1"),
            *("--epochs", "10", "--output", str(tmp_path / "run")),
            *("--model.width", "16", "--model.num-levels", "3", "--model.attention-windows", "5"),
            *("--model.num-heads", "2"),
        ]
    )
    assert status == 0
    found = recovery(tmp_path / "run")
    assert found is not None and found["classes"] == 12
    assert found["mu_class"] > 0.8
    # They lie within 0.2 of each other, which leaves less to tell apart.
    assert found["mu_start"] > 0.4 and found["mu_end"] > 0.4


def test_the_data_hold_more_than_is_found() -> None:
    """What limits recovery is how it is done: the bound is near what a bump in unit noise holds, and far above it."""
    bundle = make_twin("multithumos", scale="smoke")
    errors = least_errors(bundle)
    store = bundle.train.store
    assert isinstance(store, SyntheticFeatureStore)
    counts = np.bincount(np.concatenate([video.labels for video in bundle.train.videos]), minlength=len(errors))
    assert np.array_equal(np.isfinite(errors[:, 0]), counts > 0)
    # A bump of peak 8 and width sigma in an instance of n frames would hold 8² sqrt(pi) n / (2 sigma), were all of it
    # inside and every instance of full strength; the window of a feature and the boundaries cost some.
    labels = np.concatenate([video.labels for video in bundle.train.videos])
    lengths = np.concatenate([video.segments_sec[:, 1] - video.segments_sec[:, 0] for video in bundle.train.videos])
    for label in np.flatnonzero(counts):
        frames = lengths[labels == label].sum() * 30 / 4
        ideal = 8.0**2 * np.sqrt(np.pi) * frames / (2 * store.planted.sigma[label, 0])
        assert 1 < errors[label, 0] * np.sqrt(ideal) < 8
    best = best_correlations(bundle)
    assert best["class"][2] > 0.999 and min(best["start"][2], best["end"][2]) > 0.98
    assert main_of_bound(["--scale", "smoke"]) == 0
