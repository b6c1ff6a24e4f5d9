# SPDX-License-Identifier: Apache-2.0
"""Every Triton kernel compiles for GPUs that are not here, in every type, and on sm_90 without spilling registers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.kernels.covering import covering

ROOT = Path(__file__).resolve().parents[2]
# Target -> bytes of shared memory that a block may have there; a kernel that asks for more compiles and cannot start.
SHARED_MEMORY = {"sm_80": 163 << 10, "sm_90": 227 << 10, "gfx942": 64 << 10}
SHARES = 4  # processes, so that test workers share them

# Bytes a thread may spill. Three products of split float32 operands of 128 channels need a few registers more than
# there are; half types, and 64 channels, fit.
# Compilers of older Triton keep a few registers fewer, for every kernel; named is the first version that keeps more.
BEFORE = {(3, 6): 32, (3, 7): 16}
ALLOWED = {("attention-128-wide-backward-float32", "local_attention_bwd_query_kernel"): 16}


@pytest.mark.slow
@pytest.mark.parametrize("share", range(1, SHARES + 1))
def test_compiles_for_every_target_without_spilling(share: int) -> None:
    pytest.importorskip("triton", minversion="3.5")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.ahead_of_time", f"{share}/{SHARES}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    planned, *lines = map(json.loads, done.stdout.splitlines())
    assert set(planned) == set(SHARED_MEMORY)
    kernels = set(planned["sm_90"])
    assert len(kernels) > 20 and all(set(found) == kernels for found in planned.values()), planned
    total = sum(sum(found.values()) for found in planned.values())
    assert len(lines) == len(range(share - 1, total, SHARES)) > 0
    version = tuple(map(int, metadata.version("triton").split(".")[:2]))
    of_version = max((spilled for better, spilled in BEFORE.items() if version < better), default=0)
    for line in lines:
        assert line["bytes"] > 0
        assert line["shared_memory"] <= SHARED_MEMORY[line["target"]], line
        spilled = line["local_memory"] or 0
        allowed = max(ALLOWED.get((line["call"], line["kernel"]), 0), of_version)
        assert spilled <= allowed, f"{line} spills {spilled} bytes a thread"


def test_a_covering_has_every_feature_and_leaves_out_what_adds_none() -> None:
    a, b, c = (frozenset((feature,) for feature in features) for features in ("xy", "xyz", "zw"))
    assert covering([a, b, c]) == [b, c]
    assert covering([a]) == [a] and covering([]) == []
