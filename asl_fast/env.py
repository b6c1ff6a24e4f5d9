# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.env``: versions, what was built, what runs where, and what to do about anything missing."""

from __future__ import annotations

import argparse
import json
from typing import Any

from asl_fast import ops
from asl_fast.environment import describe


def collect() -> dict[str, Any]:
    """:func:`asl_fast.environment.describe` with ``operators``: op -> device -> ``implementation`` and ``reason``."""
    operators: dict[str, dict[str, dict[str, str | None]]] = {}
    for (op, device), choice in ops.backends().items():
        operators.setdefault(op, {})[device] = {"implementation": choice.implementation, "reason": choice.reason}
    return {**describe(), "operators": operators}


def _module_line(label: str, module: dict[str, Any]) -> str:
    if not module["available"]:
        return f"  {label:<15}missing: {module['reason']}"
    built = [module.get("compiler", "built")]
    if "architectures" in module:
        built.append(" ".join(module["architectures"]))
    return f"  {label:<15}{', '.join(built)}"


def render(report: dict[str, Any]) -> str:
    """The report as text for a terminal."""
    lines = [f"asl_fast {report['asl_fast']}, Python {report['python']}, {report['platform']}"]
    lines += [f"{report['processors']} processors", "", "Packages"]
    lines += [f"  {name:<15}{version or 'not installed'}" for name, version in report["versions"].items()]
    lines += [
        "",
        "Compiled modules",
        _module_line("C++", report["native"]),
        _module_line("CUDA", report["native_cuda"]),
    ]
    lines += ["", "GPU devices"]
    for device in report["devices"]:
        capability = ".".join(map(str, device["capability"]))
        gib = device["memory_bytes"] / 2**30
        lines.append(f"  {device['index']}: {device['name']}, compute capability {capability}, {gib:.0f} GiB")
    if not report["devices"]:
        cuda = f"for CUDA {report['torch_cuda']}" if report["torch_cuda"] else "without CUDA"
        lines.append(f"  none (torch was built {cuda}): everything runs on the CPU")
    lines += ["", "Operators"]
    width = max(map(len, report["operators"]), default=0) + 2
    for op, devices in report["operators"].items():
        for device, choice in devices.items():
            runs = choice["implementation"] or "cannot run"
            why = "" if choice["reason"] == "first choice" else f"  ({choice['reason']})"
            lines.append(f"  {op:<{width}}{device:<6}{runs}{why}")
    lines += ["", "Advice", *(f"  - {sentence}" for sentence in report["advice"] or ["nothing is missing"])]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m asl_fast.env", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    report = collect()
    print(json.dumps(report, indent=2) if parser.parse_args(arguments).json else render(report))


if __name__ == "__main__":
    main()
