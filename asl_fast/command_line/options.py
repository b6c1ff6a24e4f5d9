# SPDX-License-Identifier: Apache-2.0
"""From the words of a command line to a dataclass, and the text of ``--help``."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from asl_fast.command_line.program import as_called, program

Options = TypeVar("Options")
# Colours, and the sides of the box that tyro draws around a message; its top, its bottom and the lines between parts.
_SIDES = re.compile(r"\x1b\[[0-9;]*m|^[│|] ?|[│|]$", re.MULTILINE)
_RULES = re.compile(r"^\s*(?:[╭╰+].*|[─-]+\s*)$", re.MULTILINE)


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
        hide_groups: Leave the fields of nested dataclasses out, of ``--help`` as well as of the command line.

    Raises:
        SystemExit: With status 0 after help, with 2 after one line on stderr that says which option is unknown,
            missing or has a wrong value.
    """
    given: dict[str, Any] = {} if default is None else {"default": default}
    messages = io.StringIO()
    try:
        with _registry(kind, hide_groups), contextlib.redirect_stderr(messages):
            return tyro.cli(
                kind,
                prog=program(command),
                description=plain_text(about or ""),
                args=None if words is None else list(words),
                config=(tyro.conf.AvoidSubcommands,),
                **given,
            )
    except SystemExit as end:
        if end.code not in (None, 0):
            print(f"error: {_one_line(messages.getvalue())}; {program(command)} --help lists all", file=sys.stderr)
            messages = io.StringIO()
        raise
    finally:
        sys.stderr.write(messages.getvalue())


def plain_text(docstring: str) -> str:
    """Return a docstring as a terminal shows it: without markup, commands as this process was called."""
    return as_called(re.sub(r":\w+:`~?([^`]*)`", r"\1", docstring).replace("``", ""))


def _registry(root: type, hide_groups: bool) -> ConstructorRegistry:
    """Rules for tyro by which ``--help`` is silent about defaults that say nothing: None, empty and False."""
    registry = ConstructorRegistry()
    inside = []

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
        return dataclasses.replace(spec, fields=tuple(_quiet(field, info.type is root, hide_groups) for field in spec.fields))

    return registry


def _quiet(field: StructFieldSpec, at_root: bool, hide_groups: bool) -> StructFieldSpec:
    changes: list[Any] = []
    default = field.default
    if dataclasses.is_dataclass(default):
        changes = [tyro.conf.Suppress] if hide_groups and not at_root else []
    elif default is None:
        spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(field.type, set()))
        if isinstance(spec, PrimitiveConstructorSpec):
            metavar = spec.metavar.removeprefix("{None}|")
            changes = [tyro.conf.arg(metavar=_without_braces(metavar), help_behavior_hint="")]
    elif default == () and isinstance(default, tuple):
        changes = [tyro.conf.arg(help_behavior_hint="")]
    elif default is False and at_root:
        changes = [tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")]
    annotated = field.type
    for change in changes:
        annotated = Annotated[annotated, change]
    return dataclasses.replace(field, type=annotated)


def _without_braces(metavar: str) -> str:
    return metavar[1:-1] if metavar.startswith("{") and metavar.endswith("}") and "," not in metavar else metavar


def _one_line(box: str) -> str:
    """Return what tyro's box says: the message and the options that it proposes, without their explanations."""
    parts = []
    for part in _RULES.split(_SIDES.sub("", box)):
        lines = [line.rstrip() for line in part.splitlines() if line.strip() and not line.startswith(" " * 5)]
        if lines and not lines[0].startswith("For full helptext"):
            text = ", ".join([" ".join(line for line in lines if line[0] != " "), *(line for line in lines if line[0] == " ")])
            parts.append(re.sub(r":,\s+", ": ", re.sub(r",\s+", ", ", text)).rstrip("."))
    return "; ".join(part[0].lower() + part[1:] for part in parts)
