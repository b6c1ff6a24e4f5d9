# SPDX-License-Identifier: Apache-2.0
"""The ledger as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.prediction.devices import LAUNCH_SEC, Device
from benchmarks.prediction.rows import Row

HEADER = (
    f"{'kernel':34} {'by':6} {'blocks':>9} {'thr':>4} {'regs':>4} {'spill':>5} {'shared':>7} {'/SM':>3} {'waves':>6} "
    f"{'MB':>8} {'ins/el':>7} {'least':>8} {'us':>9} {'bound':8} {'floor':>8} {'ratio':>5}"
)


def assumptions(device: Device) -> str:
    """State what every prediction rests on."""
    flops = ", ".join(f"{name} {rate / 1e12:.0f}" for name, rate in device.dense_flops.items())
    return (
        f"PREDICTED for {device.name} ({device.arch}), nothing is measured: {device.multiprocessors} multiprocessors "
        f"at {device.clock / 1e9:.3f} GHz, {device.issues_per_sec / 1e12:.2f} T warp instructions/s, memory "
        f"{device.copy_bytes / 1e12:.1f} TB/s, tensor cores {flops} TFLOP/s, {1e6 * LAUNCH_SEC:.0f} us a launch.\n"
        "us: the longest of bytes, issue slots, each unit, tensor cores and latency. ins/el: executed instructions of "
        "a lane per element of the largest tensor.\n"
        "MB: all tensors of a launch once; floor of a launch: those bytes. A few blocks are executed to count;\n"
        "*: some branch depends on unknown data: least leaves out what it guards, us does it every time; a loop takes "
        "the rounds of the case's ground truth, or those stated, else 1. A target is judged by us, the most; open: "
        "only least is within it. PyTorch's own operators count as one launch that is bound by its bytes."
    )


def case_text(row: Row, *, loops: bool = True) -> str:
    """Return the table of one case."""
    lines = ["", f"{row['op']}: {row['case']}   (predicted, {row['device']})", HEADER]
    for launch in row["launches"]:
        lines.append(_launch(launch, row))
        if loops and launch.get("loops"):
            lines += [f"    {_loop(loop)}" for loop in launch["loops"][:2] if loop["executed"] >= 1]
        if launch.get("problem"):
            lines.append(f"    NOT COUNTED: {launch['problem']}")
    lines.append(_sum(row))
    lines += [f"  {line}" for line in row["targets"]]
    if "measured_sec" in row:
        lines.append(
            f"  measured kernels {1e6 * row['measured_sec']:.1f} us, {row['measured_ratio']:.2f} of the prediction"
        )
    return "\n".join(lines)


def _range(row: Row) -> str:
    least, most = f"{1e6 * row['least_kernel_sec']:.1f}", f"{1e6 * row['kernel_sec']:.1f}"
    return most if least == most else f"{least} to {most}"


def _launch(launch: Row, row: Row) -> str:
    floor = launch["bytes"] / row["copy_bytes"]
    ratio = f"{launch['seconds'] / floor:5.1f}" if floor else "    -"
    times = f"{1e6 * launch['least_sec']:8.2f} {1e6 * launch['seconds']:9.2f}"
    tail = f"{times} {launch['bound']:8} {1e6 * floor:8.2f} {ratio}"
    if launch["by"] == "torch":
        place = launch["where"].partition(" < ")[0][-41:]
        return f"{launch['kernel'][:34]:34} torch  {place:41} {launch['bytes'] / 1e6:8.2f} {'':7} {tail}"
    grid = "x".join(map(str, launch["grid"]))
    shared = f"{launch['shared_bytes'] / 1024:.1f}K"
    mark = "*" if launch["assumed_branches"] else " "
    return (
        f"{launch['kernel'][:33] + mark:34} {launch['by']:6} {grid:>9} {launch['threads']:4} {launch['registers']:4} "
        f"{launch['spilled_bytes']:5} {shared:>7} {launch['blocks_per_multiprocessor']:3} {launch['waves']:6.2f} "
        f"{launch['bytes'] / 1e6:8.2f} {launch['instructions_per_element']:7.1f} {tail}"
    )


def _loop(loop: Row) -> str:
    return (
        f"loop {loop['from']:#x}-{loop['to']:#x}: {loop['instructions']} instructions x {loop['rounds_per_warp']:.1f} "
        f"rounds a warp; {_classes(loop['by_class'])}"
    )


def _classes(by_class: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {count:g}" for name, count in by_class.items())


def _sum(row: Row) -> str:
    parts = [
        f"  sum: {len(row['launches'])} launches, kernels {_range(row)} us, "
        f"with launches {1e6 * row['total_sec']:.1f} us"
    ]
    if row["ratio"] is not None:
        parts.append(f"floor {1e6 * row['floor_sec']:.1f} us, kernels {row['ratio']:.2f} x floor")
        parts.append(f"{row['percent_of_copy']:.0f} % of copy")
    return "; ".join(parts)


def summary(rows: Sequence[Row]) -> str:
    """Return one line a case."""
    lines = ["", f"{'predicted':60} {'launches':>8} {'kernels us':>10} {'total us':>10} {'floor us':>9} {'% copy':>6}"]
    for row in rows:
        percent = f"{row['percent_of_copy']:6.0f}" if row["percent_of_copy"] else "     -"
        name = f"{row['op']}: {row['case']}"
        lines.append(
            f"{name[:60]:60} {len(row['launches']):8} {1e6 * row['kernel_sec']:10.1f} {1e6 * row['total_sec']:10.1f} "
            f"{1e6 * row['floor_sec']:9.1f} {percent}"
        )
    return "\n".join(lines)
