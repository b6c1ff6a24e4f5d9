# SPDX-License-Identifier: Apache-2.0
"""Products of matrices on a CPU equal PyTorch's own, whichever library computes them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from asl_fast.layers import product as module
from asl_fast.layers.product import FEWEST_ROWS, MOST_ROWS, product, product_over_rows


@pytest.fixture(params=[True, False], ids=["onednn", "pytorch"])
def _library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param and not module._HAS_ONEDNN:
        pytest.skip("this build of PyTorch has no oneDNN for this processor")
    monkeypatch.setattr(module, "_HAS_ONEDNN", request.param)


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("shape", [(2, 9), (1, 1), (0, 9), (2, 0), (7,), (3, 300)])
def test_product_equals_a_linear_layer(shape: tuple[int, ...], with_bias: bool) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, 6, generator=g)
    bias = torch.randn(5, generator=g) if with_bias else None
    for weight in (torch.randn(5, 6, generator=g), torch.randn(6, 5, generator=g).t()):
        torch.testing.assert_close(product(x, weight, bias), F.linear(x, weight, bias), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize(("m", "n"), [(3, 40), (40, 3), (1, 1), (128, 128)])
@pytest.mark.parametrize("rows", [0, 1, FEWEST_ROWS - 1, FEWEST_ROWS, MOST_ROWS, MOST_ROWS + 1, 2 * MOST_ROWS + 7])
def test_product_over_rows_in_parts(rows: int, m: int, n: int) -> None:
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(rows + 2, m, generator=g)[1:-1], torch.randn(rows, n, generator=g)
    wanted = (a.double().t() @ b.double()).float()
    torch.testing.assert_close(product_over_rows(a, b), wanted, rtol=1e-4, atol=1e-3)
