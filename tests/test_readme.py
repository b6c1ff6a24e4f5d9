# SPDX-License-Identifier: Apache-2.0
"""What README and CONTRIBUTING tell a newcomer is true: code runs, commands and files exist, and it stays short."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module, util
from pathlib import Path

import pytest

from asl_fast.__main__ import COMMANDS
from asl_fast.data.datasets.benchmarks import VIDEO_BENCHMARKS
from asl_fast.data.datasets.catalogue import DATASETS
from asl_fast.training.presets import SIZES

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/results.md", "docs/datasets.md", "tests/golden/README.md")


def blocks(document: str, language: str) -> list[str]:
    """Return the code blocks of one language in a document."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_library_example_runs() -> None:
    (example,) = blocks("README.md", "python")
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tensor([[ 0.0000,  4.0000]," in done.stdout


def test_the_commands_exist() -> None:
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"(?:^|`)asl-fast ([\w-]+)|asl_fast\.(\w+)`", text, flags=re.MULTILINE))
    commands = {one or other for one, other in named}
    assert len(commands) >= 5
    assert commands <= set(COMMANDS)
    modules = {
        name for document in DOCUMENTS for name in re.findall(r"python -m ([\w.]+)", (ROOT / document).read_text())
    }
    modules -= {name for name in modules if name.split(".")[0] not in ("asl_fast", "benchmarks", "tests")}
    assert "benchmarks.picture" in modules
    assert [name for name in sorted(modules) if util.find_spec(name) is None] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_shown_are_options_of_the_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = "\n".join(block for block in blocks("README.md", "bash"))
    lines = [line.partition("#")[0] for line in shown.splitlines() if line.startswith(f"asl-fast {command} ")]
    options = {option for line in lines for option in re.findall(r"--[\w-]+", line)}
    with pytest.raises(SystemExit):
        import_module(f"asl_fast.{command}").main(["--help"])
    known = re.findall(r"--[\w-]+", capsys.readouterr().out)
    assert options <= set(known)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [link for link in links if not ((ROOT / document).parent / link).exists()]
    assert missing == []


def test_every_data_set_has_its_row() -> None:
    text = (ROOT / "docs/datasets.md").read_text()
    rows = {
        name: line for line in text.splitlines() if line.startswith("| `") for name in re.findall(r"`([^`]+)`", line)
    }
    assert [name for name in DATASETS if name not in rows] == []
    for name, benchmark in VIDEO_BENCHMARKS.items():
        features = {each for manifest in benchmark.manifests for each in manifest.split("+")}
        files = {file for file in benchmark.readers if not file.startswith("EPIC")} - {"epic_kitchens_100_noun.json"}
        assert [each for each in sorted(features | files) if f"`{each}`" not in rows[name]] == []
    assert [size for size in SIZES if f"| `{size}` |" not in text] == []


def test_files_that_contributing_names_exist() -> None:
    """A path in code quotes has a slash; <op> stands for the name of an operator, here diou_loss."""
    quoted = re.findall(
        r"`((?:asl_fast|kernels|csrc|tests|benchmarks)/[\w./<>{},*]*)`", (ROOT / "CONTRIBUTING.md").read_text()
    )
    assert len(quoted) > 20
    assert [path for path in quoted if not list(ROOT.glob(path.replace("<op>", "diou_loss").rstrip("/")))] == []


def test_readme_is_short_and_shows_a_picture() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 1050
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert pictures
    assert all((ROOT / picture).stat().st_size < 200_000 for picture in pictures)
    assert len(re.findall(r"^\d\. \[asl_fast/", text, flags=re.MULTILINE)) == 6
