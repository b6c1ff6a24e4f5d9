# SPDX-License-Identifier: Apache-2.0
"""Recordings with names and labels that every format has to carry or to replace."""

from __future__ import annotations

from asl_fast.formats.recording import Action, Origin, Recording

PLAIN = "pour water"
LABELS = (
    PLAIN,
    '=HYPERLINK("x")',
    "'=quoted",
    "-5",
    "@sum",
    'a, "b"; c',
    "<i>tag</i> & {\\an8} --> end",
    "línea ünï 漢字 🏃",
    "two\nlines",
    "bell\x07 and \x1b[31m",
    "pour water (2)",
)
RECORDINGS = (
    Recording(
        "kitchen/cam 1",
        61.5,
        25.0,
        (
            Action(1.0, 2.5, PLAIN, 0.91),
            Action(0.1 + 0.2, 4.0, LABELS[1], 0.75),
            Action(2.0, 3.0, PLAIN, 0.7),  # overlaps the first
            Action(2.5, 2.5001, PLAIN, 0.6),  # hardly any length
            *(Action(10.0 + i, 61.5, label, 0.5 - 0.01 * i) for i, label in enumerate(LABELS[2:])),
        ),
    ),
    Recording("empty", 10.0, 1.0, ()),
    Recording("=1+1", 3700.25, 29.97, (Action(3600.0, 3700.25, PLAIN, 0.123456789012345),)),
)
ORIGIN = Origin("run/last.pt epoch 3", LABELS)
