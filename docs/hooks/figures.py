# SPDX-License-Identifier: Apache-2.0
"""The figures of the page about the method, drawn from the library's own code, for light and for dark pages."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from asl_fast import RaggedTargets, assign_points, soft_nms
from asl_fast.losses.sensitivity import ClassGaussians
from asl_fast.models.points import level_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Ink:
    """Colours of one kind of page.

    Attributes:
        text: Of letters and axes.
        muted: Of what stands back.
        rule: Of lines behind the data.
        first: Of the data.
        second: Of other data.
        third: Of yet other data.
    """

    text: str
    muted: str
    rule: str
    first: str
    second: str
    third: str


# Blue, vermilion and green of Okabe and Ito's palette, which colour-blind eyes tell apart, and lighter on dark ground.
INKS = {
    "light": Ink("#1b2330", "#586474", "#d8dde4", "#0065a8", "#c04a00", "#00795a"),
    "dark": Ink("#e7ecf3", "#a0acbb", "#343e4c", "#66b5ec", "#f29a5c", "#5cc9a7"),
}


def pictures() -> dict[str, str]:
    """Draw every figure in both inks; keys are places in the site."""
    drawn = {"sensitivity": sensitivity, "points": points, "suppression": suppression}
    return {
        f"assets/{name}-{kind}.svg": svg(draw, ink, f"{name}-{kind}")
        for name, draw in drawn.items()
        for kind, ink in INKS.items()
    }


def svg(draw: Any, ink: Ink, salt: str) -> str:
    """Return a figure as SVG, the same text for the same data."""
    import matplotlib
    from matplotlib.figure import Figure

    style = {"svg.hashsalt": salt, "font.size": 10, "font.family": "DejaVu Sans", "axes.linewidth": 0.8}
    style |= {key: ink.text for key in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")}
    style |= {"axes.edgecolor": ink.muted}
    with matplotlib.rc_context(style):
        figure = Figure(layout="constrained")
        draw(figure, ink)
        held = io.StringIO()
        figure.savefig(held, format="svg", transparent=True, metadata={"Date": None})
    return held.getvalue()


def _bare(axes: Axes, *, left: bool = False) -> None:
    for side in ("top", "right", *(() if left else ("left",))):
        axes.spines[side].set_visible(False)


def sensitivity(figure: Figure, ink: Ink) -> None:
    """Draw the Gaussians of one class as they start and as they could be learned, over the length of an action."""
    figure.set_size_inches(7.4, 2.7)
    distance = torch.linspace(-0.75, 0.75, 301)
    learned = ClassGaussians(1)
    with torch.no_grad():
        learned.mu_bias.copy_(torch.tensor([[-0.35, 0.1, -0.15]]))
        learned.sigma_bias.copy_(torch.tensor([[-1.2, -1.6, -1.5]]))
    for axes, gaussians, title in zip(
        figure.subplots(1, 2, sharey=True),
        (ClassGaussians(1), learned),
        ("at the start of training", "learned, an example"),
        strict=True,
    ):
        with torch.no_grad():
            curves = gaussians(distance[None], torch.zeros(1, len(distance), dtype=torch.int64))
        axes.axvspan(-0.5, 0.5, color=ink.rule, alpha=0.45, lw=0)
        for curve, colour, name in zip(
            curves, (ink.first, ink.second, ink.third), ("p_cls", "p_start", "p_end"), strict=True
        ):
            axes.plot(distance, curve[0], color=colour, lw=2, label=name)
        axes.set(xlim=(-0.75, 0.75), ylim=(0, 1.08), xticks=[-0.5, 0, 0.5], yticks=[0, 0.5, 1])
        axes.set_xticklabels(["start", "middle", "end"])
        axes.set_title(title, fontsize=10, color=ink.muted)
        _bare(axes, left=True)
    figure.legend(*figure.axes[1].get_legend_handles_labels(), frameon=False, loc="outside right upper", fontsize=9)


def points(figure: Figure, ink: Ink) -> None:
    """Draw the points of a pyramid and which of them two actions are assigned to."""
    figure.set_size_inches(7.4, 2.5)
    axes = figure.subplots()
    ranges = [(0.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 1e4)]
    levels = level_points([64, 32, 16, 8], ranges, torch.device("cpu"))
    actions = torch.tensor([[5.2, 11.6], [22.0, 54.0]])
    targets = RaggedTargets(actions, torch.tensor([0, 1]), torch.tensor([0, 2]))
    found = assign_points(torch.cat(levels), targets, 2)
    instance = found.instance[0].split([len(level) for level in levels])
    for row, (level, owner) in enumerate(zip(levels, instance, strict=True)):
        for which, colour, size in ((-1, ink.muted, 9), (0, ink.first, 46), (1, ink.second, 46)):
            times = level[owner == which, 0]
            axes.scatter(
                times, torch.full_like(times, row), s=size, color=colour, alpha=0.55 if which < 0 else 1, lw=0, zorder=3
            )
        axes.axhline(row, color=ink.rule, lw=0.8, zorder=1)
    for (start, end), colour in zip(actions.tolist(), (ink.first, ink.second), strict=True):
        axes.axvspan(start, end, color=colour, alpha=0.13, lw=0)
        axes.plot([start, end], [-0.75, -0.75], color=colour, lw=5, solid_capstyle="butt")
    axes.set(xlim=(-1, 64), ylim=(-1.1, 3.5), yticks=range(4), xlabel="time, in steps of the features")
    axes.set_yticklabels([f"level {level}, stride {2**level}" for level in range(4)])
    axes.tick_params(axis="y", length=0)
    _bare(axes)


def suppression(figure: Figure, ink: Ink) -> None:
    """Draw candidates before and after soft-NMS, which lowers the scores of those that a better one overlaps."""
    figure.set_size_inches(7.4, 2.5)
    segments = torch.tensor([[2.0, 9.0], [2.6, 9.4], [1.2, 7.5], [4.5, 12.0], [14.0, 19.0], [14.8, 19.6], [16.5, 22.0]])
    scores = torch.tensor([0.9, 0.82, 0.7, 0.55, 0.8, 0.74, 0.5])
    kept = soft_nms(segments, scores, min_score=0.0)
    after = torch.zeros_like(scores).index_copy_(0, kept.indices, kept.scores)
    for axes, shown, title in zip(
        figure.subplots(1, 2, sharey=True), (scores, after), ("candidates", "after soft-NMS"), strict=True
    ):
        for (start, end), score in zip(segments.tolist(), shown.tolist(), strict=True):
            axes.plot(
                [start, end], [score, score], color=ink.first, lw=5, alpha=0.25 + 0.75 * score, solid_capstyle="butt"
            )
        axes.set(xlim=(0, 23), ylim=(0, 1), xlabel="time, s")
        axes.set_title(title, fontsize=10, color=ink.muted)
        _bare(axes, left=True)
    figure.axes[0].set_ylabel("score")
