# SPDX-License-Identifier: Apache-2.0
"""The part of the docstrings' dialect that ruff has no rule for: entries of sections are sentences."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("asl_fast", "kernels", "benchmarks", "csrc", "tests", "examples")
SECTIONS = ("Args:", "Attributes:", "Raises:")
ENTRY = re.compile(r"    \*{0,2}[\w.]+: (.*)")


def entries(docstring: str) -> Iterator[str]:
    """Yield the text of each entry of the sections that consist of entries, on one line."""
    section, text = "", ""
    for line in [*docstring.splitlines(), "end"]:
        if text and not line.startswith("     "):
            yield text
            text = ""
        if line and not line.startswith(" "):
            section = line
        elif section in SECTIONS and (entry := ENTRY.fullmatch(line)):
            text = entry[1]
        elif text:
            text += " " + line.strip()


def is_sentence(text: str) -> bool:
    """Tell whether a text begins with a capital letter and ends with a full stop.

    What has no capital may begin it too, and so may a name that is written otherwise, as mAP and float32 are.
    """
    lower = re.match(r"[a-z]+(?=[ ,.;:]|$)", text)
    return lower is None and re.search(r"[.!?]\)?$", text) is not None


def wrong_entries(path: Path) -> list[str]:
    """List the entries in the docstrings of one file that are no sentences."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, documented)]
    texts = [text for node in nodes for text in entries(ast.get_docstring(node) or "")]
    return [f"{path.relative_to(ROOT)}: {text}" for text in texts if not is_sentence(text)]


def test_entries_of_sections_are_sentences() -> None:
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert [text for path in files for text in wrong_entries(path)] == []


def test_a_wrong_entry_is_seen() -> None:
    right = "    one: Right,\n        on two lines.\n    two: mAP of all.\n    three: (N,) values.\n"
    docstring = f"Do it.\n\nArgs:\n{right}    four: wrong.\n    five: No stop\n\nReturns:\n    x: y"
    assert [text for text in entries(docstring) if not is_sentence(text)] == ["wrong.", "No stop"]
    assert next(entries(docstring)) == "Right, on two lines."
