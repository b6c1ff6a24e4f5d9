# SPDX-License-Identifier: Apache-2.0
"""How every chart here looks: its colours, and text that stays text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from asl_fast.files import atomic_write

INK, MUTED, RULE = "#1f2430", "#667085", "#d0d5dd"
# Of Okabe and Ito's palette: told apart by colour-blind eyes, and dark and light in grey print.
BLUE, VERMILION = "#0072b2", "#d55e00"


@contextmanager
def chart_file(path: Path) -> Iterator[IO[bytes]]:
    """Open the file that a chart is drawn into, which appears when it is whole; the same numbers give the same bytes.

    Raises:
        ImportError: Without matplotlib.
        OSError: When the file cannot be written.
    """
    import matplotlib

    style = {"font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "asl_fast", "text.color": INK}
    with matplotlib.rc_context(style), atomic_write(path) as file:
        yield file


def save_svg(figure: Any, title: str, file: IO[bytes]) -> None:
    """Put the title over a figure, and write it."""
    figure.suptitle(title, x=0.008, ha="left", fontsize=9, weight="bold")
    figure.savefig(file, format="svg", facecolor="white", metadata={"Date": None})
