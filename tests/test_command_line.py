# SPDX-License-Identifier: Apache-2.0
"""What all commands share: help without torch, how they are called, and how errors, Ctrl-C and closed pipes end."""

from __future__ import annotations

import ast
import os
import pkgutil
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

import asl_fast
from asl_fast.__main__ import COMMANDS, main
from asl_fast.command_line.errors import CommandError, if_stopped, run_command
from asl_fast.command_line.options import read_options
from asl_fast.command_line.program import as_called, program

# Runs a module as python -m does, then says on stderr which of the heavy packages it imported.
RUN_AND_REPORT = """
import runpy, sys
try:
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
finally:
    print("imported:", *[name for name in ("torch", "triton", "h5py") if name in sys.modules], file=sys.stderr)
"""


@dataclass(frozen=True)
class Inner:
    """Some group.

    Attributes:
        width: Channels over ``depth``, see :class:`asl_fast.ASLLoss`.
        radius: None takes all.
    """

    width: int = 3
    radius: float | None = 1.5


@dataclass(frozen=True)
class Arguments:
    """Options for the tests below.

    Attributes:
        number: How many.
        folder: Where.
        kind: Which.
        loud: Say more.
        inner: The group.
    """

    number: int = 1
    folder: Path | None = None
    kind: Literal["this", "that"] = "this"
    loud: bool = False
    inner: Inner = field(default_factory=Inner)


PACKAGE = Path(asl_fast.__file__).parent


def ended(*words: str, command: list[str], encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    """Return what Python prints when it runs ``command`` with the words."""
    return subprocess.run(
        [sys.executable, *command, *words],
        capture_output=True,
        encoding=encoding,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        timeout=120,
    )


def shown(capsys: pytest.CaptureFixture[str], *words: str, hide_groups: bool = False) -> str:
    """Return what ``--help`` prints."""
    with pytest.raises(SystemExit) as end:
        read_options(Arguments, "train", "Do it.", [*words, "--help"], hide_groups=hide_groups)
    assert end.value.code == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line that a wrong option gives."""
    with pytest.raises(SystemExit) as end:
        read_options(Arguments, "train", "Do it.", words)
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_no_torch(command: str) -> None:
    """So that it answers at once."""
    result = ended(f"asl_fast.{command}", "--help", command=["-c", RUN_AND_REPORT])
    assert result.returncode == 0
    assert result.stderr == "imported:\n"
    assert result.stdout.startswith(f"usage: python -m asl_fast.{command} [-h]")
    assert "Examples:\n    python -m asl_fast." in result.stdout
    # No markup of docstrings, and no words that say nothing.
    assert not re.search(r"``|:\w+:`|\(default: (None|)\)|\n *None\b", result.stdout)


def test_listing_the_commands_imports_no_torch() -> None:
    result = ended("asl_fast", command=["-c", RUN_AND_REPORT])
    assert (result.returncode, result.stderr) == (0, "imported:\n")
    for command in COMMANDS:
        (line,) = re.findall(rf"^  {command} .*$", result.stdout, flags=re.MULTILINE)
        assert len(line) <= 80
        docstring = ast.get_docstring(ast.parse((PACKAGE / f"{command}.py").read_text()))
        assert docstring is not None and line.split(maxsplit=1)[1] == docstring.splitlines()[0]


def test_every_entry_point_is_listed() -> None:
    runnable = [path.stem for path in PACKAGE.glob("*.py") if '\nif __name__ == "__main__":' in path.read_text()]
    assert sorted(runnable) == sorted([*COMMANDS, "__main__"])


def test_unknown_commands_name_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["traim", "--seed", "3"]) == 2
    assert capsys.readouterr().err == "error: unknown command 'traim'; did you mean 'train'?\n"
    assert main(["xyz"]) == 2
    assert "known are train, evaluate" in capsys.readouterr().err


def test_the_console_script_is_the_list_of_commands() -> None:
    declared = re.search(r'^asl-fast = "(.+)"$', (PACKAGE.parent / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert declared is not None and pkgutil.resolve_name(declared[1]) is main


def test_commands_run_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"asl_fast {asl_fast.__version__}\n"
    for name in ("check_data", "check-data"):
        assert main([name]) == 2
        assert "give --dataset NAME --data-root DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("called", "shown"),
    [
        ("/usr/bin/asl-fast", "asl-fast train"),
        ("C:/Scripts/asl-fast.exe", "asl-fast train"),
        ("/lib/asl_fast/__main__.py", "python -m asl_fast train"),
        ("/lib/asl_fast/detect.py", "python -m asl_fast.train"),
        ("/usr/bin/pytest", "python -m asl_fast.train"),
    ],
)
def test_commands_are_shown_as_they_were_called(called: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    assert program("train") == shown
    assert as_called("next: python -m asl_fast.train --resume") == f"next: {shown} --resume"


def test_errors_show_commands_as_they_were_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/asl-fast"])
    assert main(["detect", "--run", "none", "--features", "x", "--output", "out.json"]) == 2
    assert capsys.readouterr().err == "error: run folder none does not exist; train one with asl-fast train\n"


def test_help_is_shown_as_it_was_called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/asl-fast", "submit", "--help"])
    with pytest.raises(SystemExit):
        main()
    out = capsys.readouterr().out
    assert out.startswith("usage: asl-fast submit")
    assert "    asl-fast submit --challenge activitynet13" in out
    assert "python -m" not in out


def test_help_of_training_can_be_short_and_long(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for word in ("-h", "--help", "--help-all"):
        with pytest.raises(SystemExit) as end:
            main(["train", "--dataset", "thumos14", word])
        assert end.value.code == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "--loss.contrastive" not in texts[0] and "--loss.contrastive" in texts[2]
    assert all("thumos14)" in text for text in texts)


def test_help_is_silent_about_defaults_that_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(shown(capsys).replace("|", " ").split())
    assert "Do it." in text
    assert "--number INT How many. (default: 1)" in text
    assert "--folder PATH Where." in text
    assert "--loud Say more." in text
    assert "Channels over depth, see asl_fast.ASLLoss. (default: 3)" in text
    assert "None" not in text.replace("None takes all", "").replace("{None} FLOAT", "")
    assert "--inner.width" not in shown(capsys, hide_groups=True)


def test_words_become_a_dataclass() -> None:
    words = ["--number", "4", "--folder", "x", "--kind", "that", "--loud", "--inner.radius", "None"]
    assert read_options(Arguments, "train", None, words) == Arguments(4, Path("x"), "that", True, Inner(radius=None))
    default = Arguments(number=7)
    assert read_options(Arguments, "train", None, ["--folder", "None"], default=default) == default


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--numbre", "3"], "unrecognized options: --numbre, 3; perhaps you meant: --number INT"),
        (["--kind", "those"], "invalid choice 'those' for argument '--kind'. Expected one of ('this', 'that')"),
        (["--number", "ten"], "--number: invalid literal for int() with base 10: 'ten'"),
        (["--no-loud"], "unrecognized options: --no-loud"),
    ],
)
def test_a_wrong_option_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(capsys, *words)
    assert err.startswith(f"error: {message}")
    assert err.endswith("; python -m asl_fast.train --help lists the options\n")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_missing_option_is_one_line_in_every_encoding(encoding: str) -> None:
    result = ended("--detections", "d.json", command=["-X", "utf8=0", "-m", "asl_fast.submit"], encoding=encoding)
    assert result.returncode == 2
    assert result.stderr == (
        "error: missing from python -m asl_fast.submit: --challenge {activitynet13,ego4d-mq,epic100}, --output PATH; "
        "python -m asl_fast.submit --help lists the options\n"
    )


def fails_with(error: BaseException) -> int:
    def command() -> int:
        raise error

    return run_command(command)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("a.json: no 'fps'"), 2, "error: a.json: no 'fps'"),
        (FileNotFoundError(2, "No such file or directory", "x"), 2, "error: [Errno 2] No such file or directory: 'x'"),
        (ImportError("h5py is missing"), 2, "error: h5py is missing"),
        (KeyError("no video 'a' here"), 2, "error: no video 'a' here"),
        (CommandError("the loss is not finite", status=1), 1, "error: the loss is not finite"),
        (ValueError("first\n  second"), 2, "error: first second"),
        (ValueError(), 2, "error: ValueError"),
        (ValueError("Caught ValueError in worker 0.\nTraceback:\nValueError: a.npy: bad"), 2, "error: a.npy: bad"),
        (OSError(30, "Read-only", "x"), 2, "error: x: Read-only; choose a folder that can be written"),
        (OSError(28, "Full", "x"), 2, "error: x: Full; free some space or choose another folder"),
        (KeyboardInterrupt(), 130, "\nstopped"),
        (MemoryError("no room"), 2, "error: there is too little memory for this: no room"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 68719476736 bytes"),
            2,
            "error: there is too little memory for this: DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 68719476736 bytes",
        ),
    ],
)
def test_expected_errors_are_one_line(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fails_with(error) == status
    assert capsys.readouterr().err == f"{message}\n"


@pytest.mark.parametrize("error", [KeyError("fps"), KeyError(3), TypeError("a defect"), RuntimeError("a defect")])
def test_unexpected_errors_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        fails_with(error)


def test_debugging_keeps_every_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASL_FAST_DEBUG", "1")
    with pytest.raises(ValueError, match="wrong"):
        fails_with(ValueError("wrong"))


def test_ctrl_c_says_what_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        with if_stopped("nothing was written"):
            raise KeyboardInterrupt

    assert run_command(command) == 130
    assert capsys.readouterr().err == "\nstopped; nothing was written\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")
@pytest.mark.parametrize("words", [["asl_fast"], ["asl_fast.train", "--help"]])
def test_a_closed_pipe_is_no_error(words: list[str]) -> None:
    """As in ``asl-fast train --help | head -1``."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        command = [sys.executable, "-m", *words]
        result = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (141, "")
