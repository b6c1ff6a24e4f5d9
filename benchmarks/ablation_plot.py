# SPDX-License-Identifier: Apache-2.0
"""The differences of an ablation as one figure: every variant against the plain detector and against the control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.ablation_table import ROWS, SHORT, measure_name
from benchmarks.charts import BLUE, MUTED, RULE, VERMILION, chart_file, save_svg

COLOURS = {"plain": BLUE, "constant": VERMILION}


def draw_differences(report: dict[str, Any], path: Path) -> bool:
    """Draw a panel per measure: a row per variant, a bar from bound to bound, a dot per seed.

    Args:
        report: What `benchmarks.ablation.describe` gives.
        path: SVG file to write.

    Returns:
        Whether there was something to draw, and matplotlib to draw it with.

    Raises:
        OSError: When the file cannot be written.
    """
    compared = report["differences"]
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    if not compared:
        return False
    measures = list(dict.fromkeys(each["measure"] for each in compared))
    variants = list(dict.fromkeys(each["variant"] for each in compared))
    with chart_file(path) as file:
        figure = Figure(figsize=(3.4 + 2.9 * len(measures), 1.3 + 0.42 * len(variants)), layout="constrained")
        panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        for panel, measure in zip(panels, measures, strict=True):
            _draw_panel(panel, [each for each in compared if each["measure"] == measure], variants)
            panel.set_xlabel(f"difference in {measure_name(report, measure)}", color=MUTED, fontsize=7.5)
        panels[0].set_yticks(range(len(variants)), [ROWS[variant] for variant in variants])
        panels[0].set_ylim(len(variants) - 0.4, -0.6)
        handles = [panels[0].plot([], [], color=COLOURS[name], linewidth=3)[0] for name in SHORT]
        figure.legend(
            handles,
            [f"above the {name}" for name in SHORT.values()],
            loc="outside lower right",
            ncols=2,
            frameon=False,
            fontsize=7.5,
        )
        save_svg(figure, f"{report['dataset']}: dots are seeds, bars hold the mean with 95 % confidence", file)
    return True


def _draw_panel(panel: Any, compared: list[dict[str, Any]], variants: list[str]) -> None:
    panel.axvline(0.0, color=MUTED, linewidth=0.8, zorder=1)
    for each in compared:
        colour = COLOURS[each["against"]]
        place = variants.index(each["variant"]) + (-0.14 if each["against"] == "plain" else 0.14)
        panel.plot([each["low"], each["high"]], [place, place], color=colour, linewidth=3, alpha=0.35, zorder=2)
        panel.plot(each["each"], [place] * len(each["each"]), "o", color=colour, markersize=2.6, zorder=3)
        panel.plot([each["mean"]], [place], "|", color=colour, markersize=9, markeredgewidth=2, zorder=4)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color(RULE)
    panel.tick_params(length=0, labelsize=7.5, labelcolor=MUTED)
    panel.locator_params(axis="x", nbins=6)  # more would touch each other
    panel.grid(axis="x", color=RULE, linewidth=0.5, zorder=0)
