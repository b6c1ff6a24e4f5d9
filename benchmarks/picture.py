# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.picture``: one figure of what a trained detector finds and of what it learned on the way.

Above, one test recording: a row per class, annotated actions over detected ones, darker where the detector is surer.
Below, per class, which part of an action the detector learned to weigh, beside the truth where the recordings are a
synthetic twin that has one. With ``--others``, the second part alone, for several seeds. It needs matplotlib:
``pip install -e '.[plot]'``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from asl_fast.command_line.errors import CommandError, run_command
from asl_fast.evaluation.activitynet_json import read_detections, read_ground_truth
from asl_fast.files import read_json
from asl_fast.reporting.sensitivities import Sensitivities, sensitivities
from asl_fast.training.run_folder import RunFolder
from asl_fast.wording import nearest
from benchmarks.charts import BLUE, INK, MUTED, RULE, VERMILION, chart_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DETECTED, PLANTED = BLUE, VERMILION
BAND, DASHES = "#f4f6f8", (0, (3, 1.6))
MAX_ROWS, MAX_CURVES, CURVES_PER_ROW = 16, 18, 6
POSITION = np.linspace(-0.75, 0.75, 121)  # in lengths of the action, from its middle
FORMATS = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Arguments:
    """Draw a run.

    Attributes:
        run: Folder of the run.
        output: File to write; its suffix, .png, .svg or .pdf, decides the format.
        video: Test recording to show; the one with actions of most classes unless given.
        min_score: Detections that score less are left out.
        others: Folders of runs with other seeds: no recording is shown then, and what they learned as thinner lines.
    """

    run: Path
    output: Path = Path("timeline.png")
    video: str | None = None
    min_score: float = 0.1
    others: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class Row:
    """One class in one recording.

    Attributes:
        name: Of the class.
        truth_sec: (G, 2) annotated actions.
        found_sec: (N, 2) detections, by rising score, so that the surest is drawn last and on top.
        scores: (N,) in [0, 1].
    """

    name: str
    truth_sec: NDArray[np.float64]
    found_sec: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording of the test split: rows by first annotated start."""

    name: str
    duration_sec: float
    rows: tuple[Row, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    chosen = tyro.cli(Arguments, prog="python -m benchmarks.picture", description=__doc__, args=arguments)
    return run_command(lambda: _draw(chosen))


def _draw(chosen: Arguments) -> int:
    suffix = chosen.output.suffix.lower()
    if suffix not in FORMATS:
        raise CommandError(f"--output {chosen.output} has no format that is drawn here; end it in {', '.join(FORMATS)}")
    try:
        import matplotlib  # noqa: F401  # before anything is read
    except ImportError:
        raise CommandError("drawing needs matplotlib: pip install -e '.[plot]'") from None
    if chosen.others:
        several = read_seeds((chosen.run, *chosen.others))
    else:
        recording = read_recording(chosen.run, chosen.video, chosen.min_score)
    with chart_file(chosen.output) as file:
        if chosen.others:
            figure = draw_seeds(several)
        else:
            figure = draw(recording, sensitivities(chosen.run), origin(chosen.run, recording), chosen.min_score)
        stamp: dict[str, Any] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[suffix]
        figure.savefig(file, format=suffix[1:], dpi=144, facecolor="white", metadata=stamp)
    what = "" if chosen.others else f"recording {recording.name} and "
    print(f"{what}what was learned written to {chosen.output}")
    return 0


def read_seeds(runs: Sequence[Path]) -> list[Sensitivities]:
    """Read what runs learned that differ in their seed.

    Raises:
        CommandError: Naming a run that learned no sensitivities, or those of other classes than the first.
    """
    found = []
    for run in runs:
        learned = sensitivities(run)
        if learned is None:
            raise CommandError(f"{run} learned no sensitivities; name runs of a variant that has p, such as asl")
        found.append(learned)
        if learned.class_names != found[0].class_names:
            raise CommandError(f"{run} has other classes than {runs[0]}; name runs on the same data")
    return found


def read_recording(run: Path, video: str | None = None, min_score: float = 0.0) -> Recording:
    """Read one recording's annotated actions and detections out of a run folder.

    Args:
        run: Folder of a finished run.
        video: Its name; None takes the one with actions of most classes, the first of them by name.
        min_score: Detections that score less are left out.

    Raises:
        FileNotFoundError: When the run is not finished.
        CommandError: For a recording that is not in the test split.
    """
    folder = RunFolder(run)
    truth, found = read_ground_truth(folder.ground_truth), read_detections(folder.detections)
    names = sorted(truth.videos)
    if video is not None and video not in names:
        raise CommandError(f"{folder.ground_truth} has no recording {video!r}; {nearest(video, names)}")
    actions, detections = truth.columns, found.columns

    def classes(name: str) -> list[str]:
        inside = actions["video"] == name
        order = np.argsort(actions["segments"][inside, 0], kind="stable")
        return list(dict.fromkeys(actions["labels"][inside][order].astype(str).tolist()))

    video = video or max(names, key=lambda name: len(classes(name)))
    rows = []
    for label in classes(video)[:MAX_ROWS]:
        is_truth = (actions["video"] == video) & (actions["labels"].astype(str) == label)
        is_found = (detections["video"] == video) & (detections["labels"].astype(str) == label)
        is_found &= detections["scores"] >= min_score
        order = np.argsort(detections["scores"][is_found], kind="stable")
        segments, scores = detections["segments"][is_found][order], detections["scores"][is_found][order]
        rows.append(Row(label, actions["segments"][is_truth], segments, scores))
    ends = [row.truth_sec.max() for row in rows] + [row.found_sec.max() for row in rows if len(row.found_sec)]
    return Recording(video, truth.durations_sec.get(video, float(max(ends, default=1.0))), tuple(rows))


def origin(run: Path, recording: Recording) -> str:
    """Say what is shown: the data set, whether it is synthetic, the recording, and the score of the whole run."""
    folder = RunFolder(run)
    dataset, scores = read_json(folder.dataset), read_json(folder.summary)
    parts = [dataset["name"] + (", synthetic twin" if dataset["synthetic"] else ""), f"recording {recording.name}"]
    if scores.get("average_map") is not None:
        parts.append(
            f"average mAP of the run on all {dataset['test_videos']} test recordings {scores['average_map']:.3f}"
        )
    return "; ".join(parts)


def draw(recording: Recording, learned: Sensitivities | None, source: str, min_score: float) -> Figure:
    """Draw the recording and, where the run learned any, the sensitivities."""
    from matplotlib.figure import Figure

    shown = shown_classes(learned)
    curve_rows = -(-len(shown) // CURVES_PER_ROW)
    timeline_height, curve_height = 0.95 + 0.31 * len(recording.rows), 1.0 * curve_rows + (0.6 if curve_rows else 0)
    figure = Figure(figsize=(8.2, timeline_height + curve_height), layout="constrained")
    figure.get_layout_engine().set(hspace=0.02, h_pad=0.06)
    panels = figure.subfigures(2, 1, height_ratios=(timeline_height, curve_height)) if curve_rows else [figure]
    axes = panels[0].subplots()
    draw_recording(axes, recording)
    axes.set_title(source, loc="left", fontsize=7.5, color=MUTED, pad=6)
    bars = [(INK, "annotated"), (DETECTED, "detected with score 1"), (_blend(DETECTED, 0.5), "0.5")]
    bars += [(_blend(DETECTED, min_score), f"{min_score:g}, less is left out")] if min_score > 0 else []
    _head(panels[0], "Annotated and detected actions", [_bar(*bar) for bar in bars])
    if learned is not None and curve_rows:
        _draw_curves(panels[1], [learned], shown, curve_rows)
    return figure


def draw_seeds(several: Sequence[Sensitivities]) -> Figure:
    """Draw what runs with several seeds learned, the first of them filled."""
    from matplotlib.figure import Figure

    shown = shown_classes(several[0])
    rows = -(-len(shown) // CURVES_PER_ROW)
    figure = Figure(figsize=(8.2, rows + 0.6), layout="constrained")
    figure.get_layout_engine().set(hspace=0.02, h_pad=0.06)
    _draw_curves(figure, several, shown, rows)
    return figure


def _draw_curves(panel: Any, several: Sequence[Sensitivities], shown: NDArray[np.int64], rows: int) -> None:
    axes = panel.subplots(rows, CURVES_PER_ROW, sharex=True, sharey=True, squeeze=False).flatten().tolist()
    draw_sensitivities(axes, several[0], shown)
    for other in several[1:]:
        for each, label in zip(axes, shown.tolist(), strict=False):
            curve = _curve(POSITION, other.learned.mu[label, 0], other.learned.sigma[label, 0])
            each.plot(POSITION, curve, color=DETECTED, linewidth=0.6)
    lines = [_line(DETECTED, "learned" if len(several) == 1 else f"learned, {len(several)} seeds")]
    if several[0].planted is not None:
        lines.append(_line(PLANTED, "true", dashed=True))
    _head(panel, "Which moments of an action show its class", lines)


def shown_classes(learned: Sensitivities | None) -> NDArray[np.int64]:
    """Return the classes to draw, by where their action shows, early ones first."""
    if learned is None:
        return np.zeros(0, np.int64)
    trained = np.flatnonzero(learned.trained)[:MAX_CURVES]
    gaussians = learned.planted or learned.learned
    return trained[np.argsort(gaussians.mu[trained, 0], kind="stable")]


def draw_recording(axes: Axes, recording: Recording) -> None:
    """Draw a row per class, annotated actions above, detections below."""
    for index, row in enumerate(recording.rows):
        axes.axhspan(index - 0.5, index + 0.5, color=BAND if index % 2 == 0 else "white", linewidth=0, zorder=0)
        axes.broken_barh(_spans(row.truth_sec), (index - 0.33, 0.3), facecolor=INK, linewidth=0, zorder=2)
        # The score mixes the colour with white; with opacity, overlapping detections would look surer than they are.
        colours = [_blend(DETECTED, score) for score in row.scores]
        axes.broken_barh(
            _spans(row.found_sec), (index + 0.03, 0.3), facecolors=colours, edgecolor="white", linewidth=0.5, zorder=3
        )
    axes.set_yticks(range(len(recording.rows)), [row.name for row in recording.rows])
    axes.set_ylim(len(recording.rows) - 0.5, -0.5)
    axes.set_xlim(0, recording.duration_sec)
    axes.set_xlabel("seconds", color=MUTED, fontsize=7.5)
    _plain(axes)


def draw_sensitivities(axes: Sequence[Axes], learned: Sensitivities, shown: NDArray[np.int64]) -> None:
    """Draw one small panel per class: how much each moment of an action counts for its class."""
    for panel, label in zip(axes, shown.tolist(), strict=False):
        curve = _curve(POSITION, learned.learned.mu[label, 0], learned.learned.sigma[label, 0])
        panel.axvspan(-0.5, 0.5, color=BAND, linewidth=0, zorder=0)
        panel.fill_between(POSITION, curve, color=DETECTED, alpha=0.18, linewidth=0)
        panel.plot(POSITION, curve, color=DETECTED, linewidth=1.6)
        if learned.planted is not None:
            truth = _curve(POSITION, learned.planted.mu[label, 0], learned.planted.sigma[label, 0])
            panel.plot(POSITION, truth, color=PLANTED, linewidth=1.4, linestyle=DASHES)
        panel.set_title(learned.class_names[label], fontsize=7.5, color=INK, pad=3)
        panel.set_xlim(-0.75, 0.75)
        panel.set_ylim(0, 1.08)
        panel.set_yticks([])
        panel.set_xticks([-0.5, 0.5], ["start", "end"])
        _plain(panel)
    for panel in axes[len(shown) :]:
        panel.set_axis_off()


def _curve(position: NDArray[np.float64], mu: float, sigma: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-((position - mu) ** 2) / (2 * sigma**2)))


def _spans(segments_sec: NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(float(start), float(end - start)) for start, end in segments_sec]


def _blend(colour: str, share: float) -> str:
    """Mix a colour with white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (part - 255) * min(max(share, 0.0), 1.0)):02x}" for part in parts)


def _head(panel: Any, heading: str, keys: list[Any]) -> None:
    panel.suptitle(heading, x=0.008, ha="left", fontsize=10, weight="bold")
    panel.legend(handles=keys, loc="upper right", ncols=len(keys), frameon=False, fontsize=7.5, handlelength=1.8)


def _bar(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, label=label)


def _line(colour: str, label: str, *, dashed: bool = False) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linewidth=1.6, linestyle=DASHES if dashed else "-", label=label)


def _plain(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(length=0, labelsize=7.5, labelcolor=MUTED)


if __name__ == "__main__":
    sys.exit(main())
