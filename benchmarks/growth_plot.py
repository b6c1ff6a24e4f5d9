# SPDX-License-Identifier: Apache-2.0
"""The curves of `benchmarks.growth` as one figure: time above, peak memory below, on logarithmic axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.charts import BLUE, MUTED, RULE, VERMILION, chart_file, save_svg

ROWS = {"seconds": ("seconds", 1.0, BLUE), "bytes": ("peak memory, MB", 1e-6, VERMILION)}
"""What is drawn of a point: name, unit and colour."""


def draw_growth(report: dict[str, Any], path: Path) -> bool:
    """Draw a column per curve; a dashed line beside the last point says how linear growth would look.

    Args:
        report: What `benchmarks.growth` gives.
        path: SVG file to write.

    Returns:
        Whether there was matplotlib to draw it with.

    Raises:
        OSError: When the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    curves = report["curves"]
    with chart_file(path) as file:
        figure = Figure(figsize=(0.6 + 2.1 * len(curves), 4.6), layout="constrained")
        rows = figure.subplots(2, len(curves), sharex="col", sharey="row", squeeze=False)
        for panels, (key, (label, unit, colour)) in zip(rows, ROWS.items(), strict=True):
            panels[0].set_ylabel(label, color=MUTED)
            for panel, curve in zip(panels, curves, strict=True):
                _draw_panel(panel, curve, key, unit, colour)
        for panel, curve in zip(rows[0], curves, strict=True):
            panel.set_title("\n".join(curve["curve"].split(", ")), fontsize=8, loc="left")
        save_svg(figure, "Growth: the power is fitted from a tenth of the largest size on; dashed is linear", file)
    return True


def _draw_panel(panel: Any, curve: dict[str, Any], key: str, unit: float, colour: str) -> None:
    drawn = [(point["size"], point[key] * unit) for point in curve["points"] if point[key] > 0]
    panel.set_xscale("log")
    panel.set_yscale("log")
    if drawn:
        sizes, values = zip(*drawn, strict=True)
        first = max(sizes[0], sizes[-1] / 100)
        panel.plot([first, sizes[-1]], [values[-1] * first / sizes[-1], values[-1]], "--", color=MUTED, linewidth=0.8)
        panel.plot(sizes, values, "o-", color=colour, markersize=3, linewidth=1.4)
    power = curve["exponents"][key]
    if power is not None:
        panel.text(0.04, 0.93, f"power {power:.2f}", transform=panel.transAxes, fontsize=7.5, va="top")
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        panel.spines[side].set_color(RULE)
    panel.tick_params(length=0, labelsize=7, labelcolor=MUTED)
    panel.minorticks_off()
    panel.grid(color=RULE, linewidth=0.5, zorder=0)
