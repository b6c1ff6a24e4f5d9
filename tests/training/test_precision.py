# SPDX-License-Identifier: Apache-2.0
"""bfloat16 is used when asked for, and by "auto" only where the hardware computes in it."""

from __future__ import annotations

import pytest
import torch

from asl_fast.training.precision import uses_bf16

CPU = torch.device("cpu")


def test_as_asked_for() -> None:
    assert uses_bf16("bf16", CPU)
    assert not uses_bf16("fp32", CPU)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
        ({"avx2": True}, False),
        ({}, False),
    ],
)
def test_auto_follows_the_processor(
    capabilities: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert uses_bf16("auto", CPU) is expected


def test_auto_on_a_torch_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not uses_bf16("auto", CPU)
