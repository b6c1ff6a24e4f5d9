# SPDX-License-Identifier: Apache-2.0
"""Records as a table for the terminal, or in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

COLUMNS = ("case", "median", "20 %", "80 %", "rate", "of peak", "memory", "against")
HOST = 4  # where Python's time stands, of what was measured on a GPU
FLOORS = {"x floor": "times_floor", "x best": "times_best"}
FLOORS_AT = 6  # where they stand, of what counts its operations
Rows = list[tuple[str, ...]]


def rows(records: Sequence[dict[str, Any]]) -> Rows:
    """Return the header and one row per record."""
    found = [COLUMNS, *(_row(record) for record in records)]
    if any("times_floor" in record for record in records):
        floors = [tuple(FLOORS), *(_floors(record) for record in records)]
        found = [(*row[:FLOORS_AT], *each, *row[FLOORS_AT:]) for row, each in zip(found, floors, strict=True)]
    if not any("host_sec" in record for record in records):
        return found
    hosts = ["Python", *(_host(record) for record in records)]
    return [(*row[:HOST], host, *row[HOST:]) for row, host in zip(found, hosts, strict=True)]


def _host(record: dict[str, Any]) -> str:
    """Write Python's time; the asterisk says that the time of the call holds it too."""
    if "host_sec" not in record:
        return "-"
    return seconds(record["host_sec"]) + ("" if record["kernels_alone"] else "*")


def _floors(record: dict[str, Any]) -> tuple[str, ...]:
    """Write a time as multiples of the least that its arithmetic takes: by ``torch.mm``, and by the best there is."""
    return tuple(f"{record[key]:.2f}x" if key in record else "-" for key in FLOORS.values())


def text(table: Rows) -> str:
    """Align columns: the first and the last to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    last = len(widths) - 1
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index in (0, last) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


def markdown(table: Rows) -> str:
    """Write the same as a Markdown table."""
    head, *body = table
    ruler = ("---", *("---:" for _ in head[1:-1]), "---")
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ruler, *body))


def seconds(value: float) -> str:
    """Write a time in the unit that leaves one to three digits before the point."""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}" if value * factor < 999.5 else f"{value * factor:.0f} {unit}"
    return f"{value * 1e6:.3g} µs"


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    name = f"{record['op']}: {record['case']}" if record["op"] else record["case"]
    if "missing" in record:
        return (name, *("-" for _ in COLUMNS[1:-1]), record["missing"])
    return (
        name,
        seconds(record["median_sec"]),
        seconds(record["low_sec"]),
        seconds(record["high_sec"]),
        _rate(record),
        _share(record),
        _memory(record),
        ", ".join(_baseline(name, values) for name, values in record["baselines"].items()) or "-",
    )


def _rate(record: dict[str, Any]) -> str:
    if "items_per_sec" in record:
        return f"{record['items_per_sec']:,.0f} /s"
    if "bytes_per_sec" in record:
        return f"{record['bytes_per_sec'] / 1e9:.1f} GB/s"
    return f"{record['flops_per_sec'] / 1e9:,.1f} GFLOP/s" if "flops_per_sec" in record else "-"


def _share(record: dict[str, Any]) -> str:
    share = record.get("percent_of_copy", record.get("percent_of_best"))
    return "-" if share is None else f"{share:.0f} %"


def _memory(record: dict[str, Any]) -> str:
    peak = record.get("peak_memory_bytes")
    launched = f", {record['kernels']} kernels" if "kernels" in record else ""
    return ("-" if peak is None else f"{peak / 2**20:.1f} MiB") + launched


def _baseline(name: str, values: dict[str, Any]) -> str:
    if "missing" in values:
        return f"- {name}"
    ratio = values["ratio"]
    return f"{ratio:.0f}x {name}" if ratio >= 99.5 else f"{ratio:.3g}x {name}"
