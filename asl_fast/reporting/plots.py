# SPDX-License-Identifier: Apache-2.0
"""The charts of a page as PNG files, for papers and slides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asl_fast.evaluation.analysis import analyse
from asl_fast.evaluation.confusion import confusion
from asl_fast.evaluation.mean_ap import MeanAveragePrecision, mean_average_precision
from asl_fast.evaluation.precision_recall import precision_recall
from asl_fast.files import atomic_write
from asl_fast.reporting.content import POSITIONS
from asl_fast.reporting.facts import short_names
from asl_fast.reporting.history import history
from asl_fast.reporting.run_record import TIOU, RunRecord
from asl_fast.wording import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito's palette: told apart by colour-blind eyes, and dark and light in grey print.
COLOURS, DASHES, MARKERS = ("#0072b2", "#d55e00"), ("-", "--"), ("o", "D")
INK, MUTED, RULE, PALE = "#1f2430", "#667085", "#d0d5dd", "#e4e8ee"
KIND_STYLES = (
    *((INK, ""), ("#aebccb", ""), (COLOURS[1], "")),
    *(("#9ccbe8", "//"), ("#f5c9a8", "\\\\"), ("#ffffff", "..")),
)
MOST_CLASSES, MOST_CURVES, LONGEST_NAME = 40, 24, 28
STYLE: dict[str, Any] = {
    "font.size": 8,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
}


def check_matplotlib() -> None:
    """Make sure that pictures can be drawn.

    Raises:
        ImportError: Without matplotlib.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError("--png needs matplotlib: pip install 'asl-fast[plot]'") from None


def write_plots(records: Sequence[RunRecord], folder: Path) -> list[Path]:
    """Draw what there is to draw of one run or two, each picture into a file of its own.

    Args:
        records: One run, or two to compare.
        folder: Made where it does not exist.

    Returns:
        The files; without scores before a run has finished, without sensitivities where none were learned.

    Raises:
        OSError: Naming the file that cannot be written.
    """
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    named = list(zip(short_names(records), records, strict=True))
    finished = [(name, record) for name, record in named if record.finished and len(record.tables[0]["video"])]
    pictures: dict[str, Callable[[], Figure | None]] = {"losses": lambda: draw_losses(named)}
    if finished:
        pictures |= {
            "map_per_threshold": lambda: draw_thresholds(finished),
            "ap_per_class": lambda: draw_classes(finished),
            "precision_recall": lambda: draw_precision_recall(finished),
        }
    for place, (_, record) in enumerate(finished):
        end = "" if len(finished) == 1 else f"_{place + 1}"
        pictures[f"errors{end}"] = lambda record=record: draw_errors(record)  # type: ignore[misc]
        pictures[f"confusion{end}"] = lambda record=record: draw_confusion(record)  # type: ignore[misc]
    pictures["sensitivity"] = lambda: draw_sensitivities(named)
    written = []
    with matplotlib.rc_context(dict[Any, Any](STYLE)):
        for name, draw in pictures.items():
            figure = draw()
            if figure is not None:
                path = folder / f"{name}.png"
                with atomic_write(path) as file:
                    figure.savefig(file, format="png", dpi=200, facecolor="white", metadata={"Software": None})
                written.append(path)
    return written


def _short(name: str) -> str:
    """Return a name safe to show, and without the middle of a long one."""
    shown = printable(name)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 8]}…{shown[-7:]}"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def draw_losses(named: Sequence[tuple[str, RunRecord]]) -> Figure | None:
    """Draw every number that was measured per step, over epochs."""
    told = [(place, name, history(record.metrics, record.total_epochs)) for place, (name, record) in enumerate(named)]
    known = [(place, name, found["steps"]) for place, name, found in told if found is not None]
    terms = list(dict.fromkeys(term for *_, steps in known for term in steps if term != "at"))
    if not terms:
        return None
    rows = -(-len(terms) // 3)
    figure = _figure(7.2, 1.6 * rows)
    panels = figure.subplots(rows, 3, squeeze=False).flatten().tolist()
    for panel, term in zip(panels, terms, strict=False):
        for place, name, steps in known:
            if term in steps:
                values = [np.nan if value is None else value for value in steps[term]]
                panel.plot(steps["at"], values, DASHES[place], color=COLOURS[place], linewidth=1, label=_short(name))
        panel.set_title(term, fontsize=8, loc="left")
        panel.set_ylim(bottom=0)
        panel.set_xlabel("epoch")
    for panel in panels[len(terms) :]:
        panel.set_axis_off()
    if len(known) > 1:
        panels[0].legend()
    return figure


def _main_scores(record: RunRecord) -> MeanAveragePrecision:
    truth, found = record.tables
    protocol = record.protocol
    thresholds = protocol.measures[0].tiou_thresholds
    return mean_average_precision(truth, found, thresholds, convention=protocol.convention)


def draw_thresholds(finished: Sequence[tuple[str, RunRecord]]) -> Figure:
    """Draw mAP over temporal IoU."""
    figure = _figure(3.6, 2.6)
    axes = figure.subplots()
    for place, (name, record) in enumerate(finished):
        found = _main_scores(record)
        label = f"{_short(name)}: average {100 * found.average_map:.1f}"
        line = f"{DASHES[place]}{MARKERS[place]}"
        axes.plot(found.tiou_thresholds, 100 * found.map, line, color=COLOURS[place], markersize=3.5, label=label)
    axes.set(xlabel="temporal IoU", ylabel="mAP, %", ylim=(0, 100))
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    axes.legend()
    return figure


def draw_classes(finished: Sequence[tuple[str, RunRecord]]) -> Figure:
    """Draw average precision per class, mean over thresholds, best first."""
    tables = [
        dict(zip(map(str, found.classes.tolist()), 100 * found.ap.mean(axis=0), strict=True))
        for found in (_main_scores(record) for _, record in finished)
    ]
    labels = sorted(tables[0], key=lambda label: -tables[0][label])[:MOST_CLASSES]
    figure = _figure(4.6, 0.6 + 0.17 * len(labels) * max(1.0, 0.8 * len(tables)))
    axes = figure.subplots()
    thick = 0.8 / len(tables)
    for place, ((name, _), table) in enumerate(zip(finished, tables, strict=True)):
        at = np.arange(len(labels)) + thick * (place - (len(tables) - 1) / 2)
        hatch = "////" if place else ""
        face = "white" if place else COLOURS[0]
        values = [table.get(label, 0.0) for label in labels]
        edges: dict[str, Any] = {"facecolor": face, "edgecolor": COLOURS[place], "linewidth": 0.6, "hatch": hatch}
        axes.barh(at, values, thick, label=_short(name), **edges)
    axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
    axes.set(xlim=(0, 100), ylim=(len(labels) - 0.4, -0.6), xlabel="average precision, %, mean over temporal IoU")
    if len(tables) > 1:
        axes.legend(loc="lower right")
    return figure


def draw_precision_recall(finished: Sequence[tuple[str, RunRecord]]) -> Figure:
    """Draw precision over recall at tIoU 0.5, the mean over classes before each class of a single run."""
    figure = _figure(3.6, 2.8)
    axes = figure.subplots()
    for place, (name, record) in enumerate(finished):
        found = precision_recall(*record.tables, TIOU, convention=record.protocol.convention)
        if len(finished) == 1 and len(found.classes) <= MOST_CLASSES:
            axes.plot(100 * found.recall, 100 * found.precision[0].T, color=PALE, linewidth=0.6, zorder=1)
        mean = 100 * found.precision[0].mean(axis=0)
        label = f"{_short(name)}, mean over classes"
        axes.plot(100 * found.recall, mean, DASHES[place], color=COLOURS[place], linewidth=1.5, label=label)
    axes.set(xlabel="recall, %", ylabel=f"precision at tIoU {TIOU:g}, %", xlim=(0, 100), ylim=(0, 102))
    axes.legend(loc="best")
    return figure


def draw_errors(record: RunRecord) -> Figure:
    """Draw what detections are, by rank, and what leaving out each kind of mistake would add to mAP."""
    truth, found = record.tables
    assert record.truth is not None
    errors = analyse(truth, found, tiou=TIOU, convention=record.protocol.convention)
    figure = _figure(7.2, 2.6)
    shares, gains = figure.subplots(1, 2, width_ratios=(2, 1))
    bottom = np.zeros(len(errors.kinds[0].share))
    places = np.arange(1, len(bottom) + 1)
    for kind, (colour, hatch) in zip(errors.kinds, KIND_STYLES, strict=True):
        height = 100 * np.array(kind.share)
        edges = {"facecolor": colour, "edgecolor": INK, "linewidth": 0.4, "hatch": hatch}
        shares.bar(places, height, 0.75, bottom=bottom, label=kind.name, **edges)
        bottom += height
    shares.set(xlabel="detections of a class by score, G at a time", ylabel="%")
    shares.set_xticks(places, [f"{place}G" for place in places])
    shares.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7)
    wrong = errors.kinds[1:]
    for place, (kind, (colour, hatch)) in enumerate(zip(wrong, KIND_STYLES[1:], strict=True)):
        gains.barh(place, 100 * kind.map_gain, 0.7, facecolor=colour, edgecolor=INK, linewidth=0.4, hatch=hatch)
    gains.set_yticks(range(len(wrong)), [kind.name for kind in wrong])
    gains.invert_yaxis()
    gains.set_xlabel("mAP gained, points")
    return figure


def draw_confusion(record: RunRecord) -> Figure:
    """Draw which class annotated actions are taken for, as the share of each row."""
    truth, found = record.tables
    rules = record.protocol.convention
    best = float(precision_recall(truth, found, TIOU, points=2, convention=rules).best_score[0])
    taken = confusion(truth, found, tiou=TIOU, min_score=best, convention=rules)
    mistakes = taken.counts[:, :-1] - np.diag(np.diag(taken.counts[:, :-1]))
    kept = np.sort(np.argsort(-(mistakes.sum(0) + mistakes.sum(1)), kind="stable")[:MOST_CLASSES])
    counts = taken.counts[np.ix_(kept, np.append(kept, len(taken.classes)))]
    names = [_short(str(taken.classes[row])) for row in kept]
    size = 1.4 + 0.19 * len(names)
    figure = _figure(size + 0.6, size)
    axes = figure.subplots()
    rows = np.maximum(taken.counts[kept].sum(axis=1, keepdims=True), 1)
    axes.imshow(counts / rows, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if counts[row, column] > 0.5 * rows[row, 0] else INK
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=6, color=colour)
    axes.set_xticks(range(len(names) + 1), [*names, "none"], rotation=60, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel=f"surest detection (tIoU {TIOU:g}, score from {best:.2f})", ylabel="annotated")
    return figure


def draw_sensitivities(named: Sequence[tuple[str, RunRecord]]) -> Figure | None:
    """Draw the learned sensitivity of each class, and the true one of a synthetic twin."""
    told = [(place, name, record.learned) for place, (name, record) in enumerate(named) if record.learned is not None]
    if not told or not told[0][2].trained.any():
        return None
    first = told[0][2]
    shown = np.flatnonzero(first.trained)
    shown = shown[np.argsort(first.learned.mu[shown, 0], kind="stable")][:MOST_CURVES]
    rows = -(-len(shown) // 6)
    figure = _figure(7.2, 0.5 + 0.95 * rows)
    panels = figure.subplots(rows, 6, sharex=True, sharey=True, squeeze=False).flatten().tolist()
    for panel, label in zip(panels, [first.class_names[place] for place in shown], strict=False):
        panel.axvspan(-0.5, 0.5, color=PALE, linewidth=0)
        for place, name, learned in told:
            if label in learned.class_names:
                curve = learned.learned.curves(POSITIONS)[learned.class_names.index(label), 0]
                panel.plot(POSITIONS, curve, DASHES[place], color=COLOURS[place], label=f"learned, {_short(name)}")
        if first.planted is not None:
            true = first.planted.curves(POSITIONS)[first.class_names.index(label), 0]
            panel.plot(POSITIONS, true, ":", color=INK, label="true")
        panel.set_title(_short(label), fontsize=7.5)
        panel.set(ylim=(0, 1.08), yticks=[])
        panel.set_xticks([-0.5, 0.5], ["start", "end"])
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure
