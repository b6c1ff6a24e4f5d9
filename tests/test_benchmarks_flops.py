# SPDX-License-Identifier: Apache-2.0
"""Operations as counted by hand, and the column that shows a time as a multiple of the least possible."""

from __future__ import annotations

import pytest
import torch

from asl_fast.layers.convolution import convolve
from benchmarks.flops import count_flops
from benchmarks.measuring import Options, measure_case
from benchmarks.registry import Case
from benchmarks.roofline import Ceilings
from benchmarks.table import rows


def test_products_convolutions_and_attention() -> None:
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert count_flops(lambda: a @ b) == 2 * 3 * 5 * 7
    weight = torch.ones(4, 2, 3)
    assert count_flops(lambda: torch.conv1d(torch.ones(1, 2, 10), weight, padding=1)) == 2 * 10 * 2 * 4 * 3
    # The operator itself, which a GPU takes; on a CPU attention is products of chunks, which are counted as they are.
    q, mask = torch.randn(2, 3, 12, 8), torch.ones(2, 12, dtype=torch.bool)
    found = torch.ops.asl_fast.local_attention(q, q, q, mask, None, 5)
    forward = 2 * 2 * 2 * 3 * 12 * 5 * 8
    assert count_flops(lambda: torch.ops.asl_fast.local_attention(q, q, q, mask, None, 5)) == forward
    backward = torch.ops.asl_fast.local_attention_backward
    assert count_flops(lambda: backward(q, q, q, q, mask, None, *found, 5)) == forward * 5 // 2


def test_convolutions_as_a_cpu_computes_them() -> None:
    x = torch.randn(2, 900, 8, requires_grad=True)
    for taps in (1, 3):
        weight = torch.randn(16, 8, taps, requires_grad=True)
        forward, backward = 2 * 2 * 900 * 8 * 16 * taps, 2 * 2 * 2 * 900 * 8 * 16 * taps
        assert count_flops(lambda weight=weight: convolve(x.detach(), weight.detach(), None)) == forward
        found = count_flops(lambda weight=weight: convolve(x, weight, None).sum().backward())
        # Of the outer taps an input lies beyond the end for one row.
        assert forward + backward - 2 * 2 * 8 * 16 * (taps - 1) <= found <= forward + backward


def test_the_time_is_shown_against_the_floor() -> None:
    a = torch.randn(64, 64)
    case = Case("product", lambda: (a,), lambda x: x @ x, counts_flops=True, compiled=None)
    record = measure_case("", case, Options(seconds=0.05, ceilings=Ceilings(1e9, 2e9, 5e9)))
    assert record["flops"] == 2 * 64**3
    assert record["times_floor"] == 2e9 * record["median_sec"] / (2 * 64**3)
    assert record["times_best"] == pytest.approx(2.5 * record["times_floor"])
    head, row = rows([record])
    assert head[5:8] == ("of peak", "x floor", "x best")
    shown = f"{record['percent_of_best']:.0f} %", f"{record['times_floor']:.2f}x", f"{record['times_best']:.2f}x"
    assert row[5:8] == shown
    failed = {"op": "", "case": "other", "scale": "small", "missing": "failed: of memory"}
    assert [len(each) for each in rows([record, failed])] == [len(head)] * 3
    assert "x floor" not in rows([failed])[0]


def test_the_best_rate_is_that_of_any_library() -> None:
    assert Ceilings(1.0, 3.0).best_flops == 3.0 and Ceilings(1.0, 3.0, 4.0).best_flops == 4.0
    assert Ceilings(2e9, 3e9).words() == "copy 2.0 GB/s, matrix product 3 GFLOP/s"
    assert Ceilings(2e9, 3e9, 4e12).words().endswith(", convolution 4,000 GFLOP/s")
