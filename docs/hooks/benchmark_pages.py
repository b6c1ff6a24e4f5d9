# SPDX-License-Identifier: Apache-2.0
"""A page per folder of benchmarks/results, from its committed table; measured and predicted numbers are kept apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
PREDICTED = re.compile(r"^(predicted|ledger)\b")
KINDS = {
    "ablation": "What each part is worth: {}",
    "corpus": "Detection in a corpus of videos: what bounds it",
    "cpu": "Speed on a CPU",
    "precision": "Detection in fewer bits",
    "gpu": "Speed on a GPU",
    "cross-validation": "Choosing the preset: {}",
    "few-recordings": "ASL from few recordings: {}",
    "collapse": "Do runs collapse?",
    "form": "Choosing the form of the loss",
    "contrast-weight": "Choosing the weight of the contrastive loss",
    "predicted": "Predicted for a GPU",
    "ledger": "Predicted for a GPU",
}
LONG = 30  # rows of a table from which on its cases are parted
NAMES = {
    "shrec22": "SHREC'22",
    "shrec22-own": "SHREC'22 as one's own data",
    "shrec21": "SHREC'21",
    "hapt": "UCI HAPT",
    "multithumos": "MultiTHUMOS's twin",
}


def folders() -> list[Path]:
    """List the folders of results, newest first."""
    found = [table.parent for table in RESULTS.glob("*/table.md")]
    return sorted(found, key=lambda folder: (folder.name[-10:], folder.name), reverse=True)


def title(folder: Path) -> str:
    """Say what a folder holds, in words, and when it was measured where others hold the like."""
    words = _words(folder)
    alike = [other for other in folders() if _words(other) == words]
    return words if len(alike) < 2 else f"{words}, {folder.name[-10:]}"


def _words(folder: Path) -> str:
    for known, words in KINDS.items():
        if folder.name.startswith(known):
            rest = folder.name[len(known) + 1 : -11]
            return words.format(NAMES.get(rest, rest))
    heading = re.match(r"# (.+)", (folder / "table.md").read_text())
    return heading[1] if heading else folder.name[:-11].replace("-", " ").capitalize()


def is_predicted(folder: Path) -> bool:
    """Tell whether a folder's numbers were computed for a device that nobody ran."""
    return PREDICTED.match(folder.name) is not None


def navigation() -> list[dict[str, Any]]:
    """Return the entries of the site's menu."""
    entries: list[dict[str, Any]] = []
    for heading, predicted in (("Measured", False), ("Predicted", True)):
        pages = [
            {title(folder): f"benchmarks/{folder.name}.md"} for folder in folders() if is_predicted(folder) == predicted
        ]
        if pages:
            entries.append({heading: pages})
    return entries


def pages() -> dict[str, str]:
    """Make the page of every folder, and what it shows beside its table."""
    made = {}
    for folder in folders():
        made[f"benchmarks/{folder.name}.md"] = page(folder)
        for picture in folder.glob("*.svg"):
            made[f"benchmarks/{folder.name}-{picture.name}"] = picture.read_text()
    return made


def page(folder: Path) -> str:
    """Write one page: where the numbers come from, then the table as it was committed."""
    table = (folder / "table.md").read_text()
    table = re.sub(r"\A# .*\n+", "", table)
    about = [f"# {title(folder)}", ""]
    if is_predicted(folder):
        about += ['!!! warning "Predicted, not measured"', "    No GPU has run any of this.", ""]
    about += [f"Measured {folder.name[-10:]}; `benchmarks/results/{folder.name}` has the numbers behind it."]
    if is_predicted(folder):
        about[-1] = about[-1].replace("Measured", "Computed")
    command = command_of(folder)
    if command:
        about += ["", f"```bash\n{command}\n```"]
    pictures = [f"![{picture.stem}]({folder.name}-{picture.name})" for picture in sorted(folder.glob("*.svg"))]
    return "\n".join([*about, "", parted(table.strip()), "", *pictures, ""])


def parted(text: str) -> str:
    """Give each operator of a long table of cases a section of its own, and each comparison a line."""
    lines = text.splitlines()
    start = next((row for row, line in enumerate(lines) if line.startswith("| case |")), len(lines))
    end = next((row for row in range(start, len(lines)) if not lines[row].startswith("|")), len(lines))
    head, rows = lines[start : start + 2], lines[start + 2 : end]
    if len(rows) < LONG:
        return text
    sections: dict[str, list[str]] = {}
    for row in rows:
        name, _, rest = row.removeprefix("| ").partition(": ")
        *cells, against = rest.split(" | ")
        cells.append(against.replace(", ", "<br>"))
        sections.setdefault(name, []).append("| " + " | ".join(cells))
    made = [line for name, found in sections.items() for line in (f"## {name}", "", *head, *found, "")]
    return "\n".join([*lines[:start], *made, *lines[end:]])


def command_of(folder: Path) -> str:
    """Return the command that made the numbers, where the file tells it."""
    try:
        found = json.loads((folder / "results.json").read_text()).get("command", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return found if isinstance(found, str) else " ".join(map(str, found))
