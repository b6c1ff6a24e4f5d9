# SPDX-License-Identifier: Apache-2.0
"""Training finds the sensitivities that a synthetic twin has planted in its features."""

from __future__ import annotations

from pathlib import Path

import pytest

from asl_fast.train import main
from benchmarks.recovery import recovery


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
