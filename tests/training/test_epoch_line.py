# SPDX-License-Identifier: Apache-2.0
"""The line of an epoch: what is in it, and that it fits the terminal."""

from __future__ import annotations

import re

import pytest

from asl_fast.training.epoch_line import epoch_line

TERMS = {"total": 1.23456, "cls": 0.45, "loc": 0.3456, "sensitivity": 0.0123, "fit": 0.0, "contrastive": 12.5}
EPOCH = {"kind": "epoch", "epoch": 11, "step": 479, "lr": 1e-4, **TERMS, "num_positives": 88.0, "grad_norm": 2.0} | {
    "seconds": 12.34
}
LINE = (
    "epoch 12/35  12.3 s  left 1:02:05  total 1.2346  cls 0.4500  loc 0.3456  sensitivity 0.0123  fit 0  "
    "contrastive 12.5000"
)


def test_every_term_and_the_time_left() -> None:
    assert epoch_line(EPOCH, 35, None, 3725.4) == LINE
    assert len(LINE) <= 120


def test_the_share_of_padding_where_the_record_has_it() -> None:
    line = epoch_line({**EPOCH, "padding": 0.0849}, 35, None, 3725.4)
    assert line == LINE.replace("1:02:05", "1:02:05  padding 8%")


def test_terms_of_ones_own_loss_are_shown() -> None:
    line = epoch_line({**EPOCH, "boundary": 123456.0, "tiny": 1e-7, "odd": -2.5}, 1000, None, 59.6)
    assert line.startswith("epoch   12/1000  12.3 s  left 01:00  ")
    assert line.endswith("  boundary 1.2e+05  tiny 1e-07  odd -2.5000")


@pytest.mark.parametrize("width", [40, 80, 100, 119, 120, 300])
def test_it_fits_the_terminal(width: int) -> None:
    lines = epoch_line(EPOCH, 35, None, 3725.4, width).splitlines()
    assert all(len(line) <= width for line in lines)
    assert len(lines) == (1 if width >= len(LINE) else 2 if width >= 80 else 4)
    assert re.sub(r"\n {4}", "  ", "\n".join(lines)) == LINE
