# SPDX-License-Identifier: Apache-2.0
"""No module imports itself by way of others, not even from within a function, where Python would not notice."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def graph_of(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Map each module to those of ``sources`` that it imports; ``from package import module`` names the module."""
    graph: dict[str, set[str]] = {}
    for module, text in sources.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= (full & set(sources)) or {node.module}
        graph[module] = names & set(sources)
    return graph


def circle(sources: Mapping[str, str]) -> list[str]:
    """Names of modules of which each imports the next and the last is the first; empty where there is no circle."""
    try:
        TopologicalSorter(graph_of(sources)).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found[::-1]  # graphlib goes from what is imported to who imports it
    return []


@pytest.mark.parametrize("package", ["benchmarks", "tests"])
def test_no_module_imports_itself_by_way_of_others(package: str) -> None:
    sources = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text()
        for path in (ROOT / package).rglob("*.py")
    }
    assert any(graph_of(sources).values()), "the reader of imports sees none"
    assert circle(sources) == []


def test_a_circle_is_seen() -> None:
    lazily = "def report():\n    from package import measuring\n"
    sources = {"package": "", "package.registry": lazily, "package.measuring": "from package.registry import Case\n"}
    assert set(circle(sources)) == {"package.registry", "package.measuring"}
    assert circle(sources | {"package.registry": ""}) == []
