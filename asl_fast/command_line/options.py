# SPDX-License-Identifier: Apache-2.0
"""From the words of a command line to a dataclass, and the text of ``--help``."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from asl_fast.command_line.names import AlsoCalled
from asl_fast.command_line.program import as_called, program

Options = TypeVar("Options")
# The box that tyro draws around a message: colours and sides, and the lines between its parts.
_SIDES = re.compile(r"\x1b\[[0-9;]*m|^│|│$", re.MULTILINE)
_RULES = re.compile(r"^\s*(?:-{3,}|─{3,}|╰─*╯)\s*$", re.MULTILINE)


def read_options(
    kind: type[Options],
    command: str,
    about: str | None,
    words: Sequence[str] | None,
    *,
    default: Options | None = None,
    hide_groups: bool = False,
) -> Options:
    """Read the words of a command line into a dataclass; print ``--help`` and leave where that is asked for.

    Args:
        kind: A dataclass: its fields are the options, "Attributes" in its docstring explain them.
        command: Name of the command, such as "train".
        about: Docstring of the command's module, which ``--help`` shows above the options.
        words: The words after the command; None takes those of this process.
        default: Values of options that are not given; None takes those of ``kind``.
        hide_groups: Leave the options of nested dataclasses out, of ``--help`` as well as of the command line.

    Raises:
        SystemExit: With status 0 after help, with 2 after one line on stderr that says which option is unknown,
            missing or has a wrong value.
        ValueError: For an option of several values that is given twice: of a single one the last counts, but of these
            nobody expects that the first are lost.
    """
    words = sys.argv[1:] if words is None else list(words)
    for option in _of_several_values(kind):
        if [word.partition("=")[0].replace("_", "-") for word in words].count(option) > 1:
            raise ValueError(f"{option} is given twice; give all its values after one: {option} A B")
    given: dict[str, Any] = {} if default is None else {"default": default}
    messages = io.StringIO()
    try:
        with _registry(kind, hide_groups), contextlib.redirect_stderr(messages):
            found: Options = tyro.cli(
                kind,
                prog=program(command),
                description=plain_text(about or ""),
                args=words,
                config=(tyro.conf.AvoidSubcommands,),
                **given,
            )
            return found
    except SystemExit as end:
        if end.code not in (None, 0):
            print(
                f"error: {_one_line(messages.getvalue())}; {program(command)} --help lists the options", file=sys.stderr
            )
            messages = io.StringIO()
        raise
    finally:
        sys.stderr.write(messages.getvalue())


def _of_several_values(kind: type) -> Iterator[str]:
    """Name the options of one's own, not those of groups, that take any number of values at once."""
    hints = get_type_hints(kind, include_extras=True)
    for entry in dataclasses.fields(kind):
        hint = hints[entry.name]
        plain, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if dataclasses.is_dataclass(plain) and any(getattr(note, "name", None) == "" for note in notes):
            yield from _of_several_values(plain)  # type: ignore[arg-type]
        elif get_origin(plain) is tuple and get_args(plain)[-1] is ... and tyro.conf.UseAppendAction not in notes:
            yield f"--{entry.name.replace('_', '-')}"


def plain_text(docstring: str) -> str:
    """Return a docstring as a terminal shows it: without markup, commands as this process was called."""
    return as_called(re.sub(r":\w+:`~?([^`]*)`", r"\1", docstring).replace("``", ""))


def _registry(root: type, hide_groups: bool) -> ConstructorRegistry:
    """Rules for tyro by which ``--help`` is silent about defaults that say nothing: None, empty and False."""
    registry = ConstructorRegistry()
    inside: list[StructTypeInfo] = []

    @registry.struct_rule
    def rule(info: StructTypeInfo) -> Any:
        if inside or not dataclasses.is_dataclass(info.type):
            return None
        # Ask tyro itself what it makes of the dataclass; this rule must not answer that.
        inside.append(info)
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            inside.pop()
        if not isinstance(spec, StructConstructorSpec):
            return spec
        return dataclasses.replace(
            spec, fields=tuple(_quiet(field, info.type is root, hide_groups) for field in spec.fields)
        )

    return registry


def _quiet(field: StructFieldSpec, at_root: bool, hide_groups: bool) -> StructFieldSpec:
    changes: list[Any] = []
    default = field.default
    plain, *notes = get_args(field.type) if get_origin(field.type) is Annotated else (field.type,)
    if dataclasses.is_dataclass(plain):
        # A dataclass with an empty name lends its options to the one around it and is no group.
        is_group = all(getattr(note, "name", None) != "" for note in notes)
        changes = [tyro.conf.Suppress] if hide_groups and is_group else []
    elif default is None:
        spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(field.type, set()))
        if isinstance(spec, PrimitiveConstructorSpec):
            metavar = spec.metavar.removeprefix("{None}|")
            changes = [tyro.conf.arg(metavar=_without_braces(metavar), help_behavior_hint="")]
    elif default == () and isinstance(default, tuple):
        changes = [tyro.conf.arg(help_behavior_hint="")]
    elif default is False and at_root:
        changes = [tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")]
    names = tuple(note.name for note in notes if isinstance(note, AlsoCalled))
    if names:
        changes.append(tyro.conf.arg(aliases=names))
    annotated = field.type
    for change in changes:
        annotated = Annotated[annotated, change]  # type: ignore[assignment]
    return dataclasses.replace(field, type=annotated, helptext=_plain_help(field.helptext))


def _plain_help(text: str | Callable[[], str | None] | None) -> Callable[[], str | None]:
    # tyro reads docstrings only when somebody asks for help.
    def plain() -> str | None:
        found = text() if callable(text) else text
        return None if found is None else plain_text(found)

    return plain


def _without_braces(metavar: str) -> str:
    return metavar[1:-1] if metavar.startswith("{") and metavar.endswith("}") and "," not in metavar else metavar


def _one_line(box: str) -> str:
    """Return what tyro's box says, the title and the explanations of options left out."""
    _, _, message = _SIDES.sub("", box).partition("\n")
    parts = []
    for part in _RULES.split(message):
        lines = textwrap.dedent(part).strip().splitlines()
        if lines and not lines[0].startswith(("For full helptext", "Argument helptext")):
            # Options that are proposed are indented, and what explains them further.
            text = " ".join(line.strip() for line in lines if not line.startswith(" "))
            text = text.removeprefix("Error parsing ")
            options = ", ".join(line.strip() for line in lines if re.match(" {4}[^ ]", line))
            parts.append(f"{text[0].lower()}{text[1:]} {options}".strip().rstrip("."))
    return "; ".join(parts)
