# SPDX-License-Identifier: Apache-2.0
"""The wrapper that runs launchers on a GPU, shown with a device that is always there."""

from __future__ import annotations

import types

import pytest
import torch

from tests.kernels import on_gpu

META = torch.device("meta")


def test_arguments_go_there_with_their_strides_and_strangers_stay() -> None:
    seen = []

    def launcher(x: torch.Tensor, options: list[object]) -> torch.Tensor:
        seen.extend([x.device.type, x.stride(), options])
        return torch.zeros(2)  # what a launcher returns on its device

    moved = on_gpu.on_device(launcher, META)
    assert torch.equal(moved(torch.ones(8, 6)[::2, ::3], [1, None]), torch.zeros(2))
    assert seen == ["meta", (12, 3), [1, None]]


def test_a_call_from_within_passes_through() -> None:
    def launcher(x: torch.Tensor) -> torch.Tensor:
        return x

    there = torch.ones(3, device=META)
    assert on_gpu.on_device(launcher, META)(there) is there


def test_finds_launchers_and_nothing_else() -> None:
    pytest.importorskip("triton", minversion="3.5")
    from asl_fast.kernels import diou_loss

    test = types.ModuleType("test")
    test.kernels, test.torch = diou_loss, torch  # type: ignore[attr-defined]
    assert on_gpu.kernel_modules(test) == [diou_loss]
    names = [name for name, _ in on_gpu.launchers(diou_loss)]
    assert "diou_loss" in names and not any(name.endswith("_kernel") for name in names)
