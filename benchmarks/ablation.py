# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.ablation``: what each part of ASL is worth on one data set, over several seeds.

Trains every variant of the loss with every seed (plain detector, constant-weight control, p, q, p+q, all of ASL), each
as its own run of ``python -m asl_fast.train``, and writes a table of mean and spread, on a synthetic twin also of how
well the planted sensitivities were found. A finished run is not repeated, so an interrupted ablation continues where it
stopped.
"""

from __future__ import annotations

import datetime
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.recovery import recovery

ROWS = {
    "plain": "plain detector (ActionFormer's loss)",
    "constant": "constant-weight control",
    "p": "p: class-level sensitivity",
    "q": "q: instance-level sensitivity",
    "p+q": "p + q (ASE)",
    "asl": "p + q + contrastive (ASL)",
}
RECOVERED = {"mu_class": "mu", "mu_start": "mu_start", "mu_end": "mu_end"}


@dataclass(frozen=True)
class Ablation:
    """Compare the variants of the loss.

    Attributes:
        dataset: Benchmark name.
        data_root: Where the real data lie; None uses the synthetic twin.
        seeds: One run of every variant for each.
        variants: Rows of the table.
        output: Folder of the runs.
        results: Folder that table.md and results.json are written to; None makes one under benchmarks/results.
        document: File whose section between ``<!-- ablation DATASET -->`` and ``<!-- end -->`` is replaced by the
            table; the project's own is docs/results.md.
        jobs: Runs at a time; each uses ``threads`` CPU threads.
        threads: CPU threads of one run; 0 leaves torch's choice.
        options: Further flags for every training run, after ``--``.
    """

    dataset: str = "hapt"
    data_root: str | None = None
    seeds: tuple[int, ...] = (1, 2, 3)
    variants: tuple[str, ...] = tuple(ROWS)
    output: Path = Path("runs/ablation")
    results: Path | None = None
    document: Path | None = None
    jobs: int = 1
    threads: int = 0
    options: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options: list[str] = []
    if "--" in words:
        words, options = words[: words.index("--")], words[words.index("--") + 1 :]
    ablation = tyro.cli(Ablation, prog="python -m benchmarks.ablation", args=words)
    unknown = [variant for variant in ablation.variants if variant not in ROWS]
    if unknown:
        print(f"error: unknown variant {unknown[0]!r}; choose from {', '.join(ROWS)}", file=sys.stderr)
        return 2
    options += ablation.options
    todo = [(variant, seed) for seed in ablation.seeds for variant in ablation.variants]
    with ThreadPoolExecutor(ablation.jobs) as pool:
        statuses = list(pool.map(lambda job: run_one(ablation, *job, options), todo))
    if any(statuses):
        print(f"error: {sum(map(bool, statuses))} of {len(todo)} runs failed; see their log.txt", file=sys.stderr)
        return 1
    report = collect(ablation, options)
    table = format_table(report)
    date = datetime.date.today().isoformat()
    folder = ablation.results or Path("benchmarks/results") / f"ablation-{ablation.dataset}-{date}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "table.md").write_text(table)
    if ablation.document is not None:
        replace_section(ablation.document, f"ablation {ablation.dataset}", table)
    print(f"{table}\nwritten to {folder}")
    return 0


def run_folder(ablation: Ablation, variant: str, seed: int) -> Path:
    """Return where the run of one variant and seed lies."""
    return ablation.output / ablation.dataset / f"{variant}-seed{seed}"


def run_one(ablation: Ablation, variant: str, seed: int, options: Sequence[str]) -> int:
    """Train one variant with one seed unless that is done; return the exit status."""
    folder = run_folder(ablation, variant, seed)
    if (folder / "evaluation.json").exists():
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "asl_fast.train", "--dataset", ablation.dataset, "--variant", variant]
    command += ["--seed", str(seed), "--output", str(folder), "--threads", str(ablation.threads)]
    if ablation.data_root is not None:
        command += ["--data-root", ablation.data_root]
    if (folder / "checkpoints" / "last.pt").exists():
        command.append("--resume")
    with (folder / "log.txt").open("w") as log:
        status = subprocess.run([*command, *options], stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    print(f"{variant} seed {seed}: {'done' if status == 0 else f'failed with status {status}'}", flush=True)
    return status


def collect(ablation: Ablation, options: Sequence[str]) -> dict[str, Any]:
    """Gather the scores of all runs, with what is needed to tell what they are."""
    rows: dict[str, list[dict[str, Any]]] = {}
    seconds: list[float] = []
    environment: dict[str, Any] = {}
    for variant in ablation.variants:
        for seed in ablation.seeds:
            folder = run_folder(ablation, variant, seed)
            evaluation = json.loads((folder / "evaluation.json").read_text())
            environment = json.loads((folder / "environment.json").read_text())
            scores = {
                name: {key: measure[key] for key in ("tiou_thresholds", "map", "average_map")}
                for name, measure in evaluation["measures"].items()
            }
            rows.setdefault(variant, []).append({"seed": seed, "scores": scores, "recovery": recovery(folder)})
            lines = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
            seconds.append(sum(line["seconds"] for line in lines if line["kind"] == "epoch"))
    command = f"python -m benchmarks.ablation --dataset {ablation.dataset}"
    command += " --data-root DIR" if ablation.data_root is not None else ""
    return {
        "dataset": ablation.dataset,
        "synthetic": environment["synthetic"],
        "command": command + (f" -- {' '.join(options)}" if options else ""),
        "date": datetime.date.today().isoformat(),
        "environment": {key: environment[key] for key in ("git", "versions", "python", "platform", "processors")},
        "training_seconds_median": statistics.median(seconds),
        "jobs": ablation.jobs,
        "threads": environment["threads"],
        "rows": rows,
    }


def format_table(report: dict[str, Any]) -> str:
    """Write Markdown: per variant mean and spread over seeds of every average mAP and of a twin's recovery."""
    sample = next(iter(report["rows"].values()))
    names = list(sample[0]["scores"])
    heads = [f"average mAP, tIoU {_range(sample[0]['scores'][name]['tiou_thresholds'])}" for name in names]
    twin = any(run["recovery"] for runs in report["rows"].values() for run in runs)
    if twin:
        heads += [f"r of {name} with planted" for name in RECOVERED.values()]
    lines = [
        f"| variant | {' | '.join(heads)} |",
        f"| --- | {' | '.join('---' for _ in heads)} |",
    ]
    for variant, runs in report["rows"].items():
        cells = []
        for name in names:
            cells.append(_mean_and_spread([run["scores"][name]["average_map"] for run in runs], 4))
        for key in RECOVERED if twin else ():
            # A variant without the class level has nothing to compare.
            found = [run["recovery"][key] for run in runs if run["recovery"]]
            cells.append(_mean_and_spread(found, 2) if found else "")
        lines.append(f"| {ROWS[variant]} | {' | '.join(cells)} |")
    seeds = ", ".join(str(run["seed"]) for run in sample)
    kind = "synthetic twin" if report["synthetic"] else "real data"
    lines += [
        "",
        f"{report['dataset']}, {kind}, seeds {seeds}: mean ± standard deviation over seeds. `{report['command']}`, "
        f"{report['date']}, CPU, {report['jobs']} run(s) at a time with {report['threads']} thread(s) each, median "
        f"training time {report['training_seconds_median']:.0f} s.",
    ]
    return "\n".join(lines) + "\n"


def _mean_and_spread(values: Sequence[float], digits: int) -> str:
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def _range(thresholds: Sequence[float]) -> str:
    return (
        f"{thresholds[0]:g}:{thresholds[1] - thresholds[0]:.2g}:{thresholds[-1]:g}"
        if len(thresholds) > 1
        else str(thresholds[0])
    )


def replace_section(path: Path, name: str, text: str) -> None:
    """Put ``text`` between the markers of section ``name``.

    Raises:
        ValueError: When the file has no such section.
    """
    old = path.read_text()
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(old):
        raise ValueError(f"{path} has no section <!-- {name} --> ... <!-- end -->; add the two markers")
    path.write_text(pattern.sub(lambda match: f"{match[1]}{text}{match[2]}", old))


if __name__ == "__main__":
    sys.exit(main())
