# SPDX-License-Identifier: Apache-2.0
"""Say what is installed, what was built and what runs where.

Examples:
    python -m asl_fast.env
    python -m asl_fast.env --json
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asl_fast.command_line.errors import run_command


@dataclass(frozen=True)
class Arguments:
    """Options of the report.

    Attributes:
        json: Print the report as JSON.
    """

    json: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(lambda: _print(_chosen(arguments)))


def _chosen(words: Sequence[str] | None) -> Arguments:
    """Read the options, also where what reads them is one of the things that are missing."""
    if importlib.util.find_spec("tyro") is None:
        return Arguments(json="--json" in (sys.argv[1:] if words is None else words))
    from asl_fast.command_line.options import read_options

    return read_options(Arguments, "env", __doc__, words)


def _print(chosen: Arguments) -> int:
    report = collect()
    print(json.dumps(report, indent=2) if chosen.json else render(report))
    return 0


def collect() -> dict[str, Any]:
    """Return :func:`asl_fast.environment.describe` and which implementation of each operator runs where.

    Returns:
        The description with ``operators``: op -> device -> ``implementation`` and ``reason``.
    """
    from asl_fast import ops
    from asl_fast.environment import describe

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
    """Return the report as text for a terminal."""
    lines = [f"asl_fast {report['asl_fast']}, Python {report['python']}, {report['platform']}"]
    lines += [f"{report['processors']} processors", "", "Packages"]
    lines += [f"  {name:<15}{version or 'not installed'}" for name, version in report["versions"].items()]
    lines += ["", "Extras" if report["extras"] else "Extras: unknown, as asl_fast is not installed here"]
    states = {
        extra: f"missing {', '.join(about['missing'])}" if about["missing"] else "here"
        for extra, about in report["extras"].items()
    }
    width = max(map(len, states.values()), default=0) + 2
    for extra, state in states.items():
        lines.append(f"  {extra:<15}{state:<{width}}{report['extras'][extra]['purpose']}")
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
    lines += ["", "Operators: device, and the implementation that runs there"]
    width = max(map(len, report["operators"]), default=0) + 2
    for op, devices in report["operators"].items():
        for device, choice in devices.items():
            runs = choice["implementation"] or "cannot run"
            why = "" if choice["reason"] == "first choice" else f"  ({choice['reason']})"
            lines.append(f"  {op:<{width}}{device:<6}{runs}{why}")
    lines += ["", "Advice", *(f"  - {sentence}" for sentence in report["advice"] or ["nothing is missing"])]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
