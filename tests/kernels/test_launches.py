# SPDX-License-Identifier: Apache-2.0
"""A launch takes few microseconds of Python, runs the kernel that Triton would, and no size compiles one anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Kernel -> constants that may follow the number of videos, instances or points, and how many steps they take.
STEPS_OF_SIZES = {
    "segment_iou_pairwise_fwd_kernel": ({"BLOCK_M", "PACK"}, 4),  # few columns or many, in fours or one by one
}
# What may follow the number of classes, and that of channels, which a data set and a model settle once.
STEPS_OF_CLASSES = {"BLOCK_CLASSES", "BLOCK_ROWS", "PACK", "TALL", "WIDE", "SPREAD", "WORDS", "classes", "num_classes"}
STEPS_OF_CHANNELS = {"SLOTS", "BLOCK_D", "BLOCK_K", "CHUNKS", "WIDTH", "channels"}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Run what has to be done without Triton's interpreter."""
    pytest.importorskip("triton", minversion="3.5")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.launching"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_launch_takes_at_most_25_microseconds_of_python(found: dict[str, Any]) -> None:
    assert len(found["microseconds"]) > 100
    slow = {name: time for name, time in found["microseconds"].items() if time > 25}
    assert not slow


def test_the_kernel_that_runs_is_the_one_that_triton_takes(found: dict[str, Any]) -> None:
    assert not found["mistakes"], "\n".join(found["mistakes"][:5])


def test_a_key_that_leaves_something_out_would_be_noticed(found: dict[str, Any]) -> None:
    assert found["noticed"] == dict.fromkeys(("type", "alignment", "width", "constants"), True)


def _varies(compilations: list[list[str]]) -> set[str]:
    return {fact.split(":")[0].split(" ")[0] for facts in compilations for fact in facts}


def test_no_size_compiles_a_kernel_anew(found: dict[str, Any]) -> None:
    compiled = found["compiled"]["sizes"]
    assert len({name.split("-")[0] for name in compiled}) >= 8
    for name, compilations in compiled.items():
        constants, most = STEPS_OF_SIZES.get(name.split("-")[-1].split("/")[0], (set(), 1))
        assert _varies(compilations) <= constants, f"{name}: {compilations}"
        assert len(compilations) <= most, f"{name}: {compilations}"


@pytest.mark.parametrize(("vary", "steps"), [("classes", STEPS_OF_CLASSES), ("channels", STEPS_OF_CHANNELS)])
def test_what_a_model_settles_compiles_only_for_known_constants(
    found: dict[str, Any], vary: str, steps: set[str]
) -> None:
    for name, compilations in found["compiled"][vary].items():
        assert _varies(compilations) <= steps, f"{name}: {compilations}"
