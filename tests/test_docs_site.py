# SPDX-License-Identifier: Apache-2.0
"""The documentation site builds without a warning, is whole, and asks no other host for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.hooks.benchmark_pages import parted

pytest.importorskip("mkdocs", reason="needs the docs extra")
pytest.importorskip("mkdocstrings", reason="needs the docs extra")
pytest.importorskip("latex2mathml", reason="needs the docs extra")

ROOT = Path(__file__).resolve().parents[1]
# What a browser fetches by itself; links are for people.
FETCHED = re.compile(
    r"""(?:<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc|<link\b[^>]*\bhref)=["']?(https?:|//)[^>]*>"""
)
STYLE = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:|//)[^)]*""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    assert [found[0] for page in pages for found in FETCHED.finditer(page.read_text())] == []
    assert [found[0] for file in site.rglob("*.css") for found in STYLE.finditer(file.read_text())] == []


def test_formulas_figures_and_docstrings_are_drawn(site: Path) -> None:
    method = (site / "method.html").read_text()
    assert method.count("<math ") > 20
    assert "arithmatex" not in method
    for name in ("points", "sensitivity", "suppression"):
        for kind in ("light", "dark"):
            assert f"assets/{name}-{kind}.svg" in method
            assert (site / "assets" / f"{name}-{kind}.svg").read_text().startswith("<?xml")
    operators = (site / "reference" / "operators.html").read_text()
    assert 'id="asl_fast.ops.soft_nms.soft_nms"' in operators
    assert ":func:" not in operators and ":class:" not in operators
    # A description that begins with > would be taken for a quotation.
    assert [page.name for page in (site / "reference").glob("*.html") if "<blockquote>" in page.read_text()] == []


def test_every_committed_result_has_its_page(site: Path) -> None:
    folders = [path.parent for path in (ROOT / "benchmarks" / "results").glob("*/table.md")]
    assert folders
    for folder in folders:
        page = (site / "benchmarks" / f"{folder.name}.html").read_text()
        predicted = folder.name.startswith(("predicted", "ledger"))
        assert ("Predicted, not measured" in page) == predicted
        assert f"benchmarks/results/{folder.name}" in page


def test_long_tables_are_parted_by_operator() -> None:
    row = "| {}: case {} | 1 ms | 2x eager, 3x reference |"
    rows = [row.format(name, number) for name in ("soft_nms", "diou_loss") for number in range(20)]
    table = ["words", "", "| case | median | against |", "| --- | ---: | --- |", *rows, "", "after"]
    made = parted("\n".join(table)).splitlines()
    assert [line for line in made if line.startswith("## ")] == ["## soft_nms", "## diou_loss"]
    assert made.count("| case | median | against |") == 2 and made[0] == "words" and made[-1] == "after"
    assert made.count("| case 7 | 1 ms | 2x eager<br>3x reference |") == 2
    short = "\n".join([*table[:20], "after"])
    assert parted(short) == short


def test_scoring_names_every_protocol_and_convention(site: Path) -> None:
    from asl_fast.evaluation.conventions import CONVENTIONS
    from asl_fast.evaluation.protocols import PROTOCOLS

    page = (site / "scoring.html").read_text()
    assert [name for name in (*PROTOCOLS, *CONVENTIONS) if f"<code>{name}</code>" not in page] == []
