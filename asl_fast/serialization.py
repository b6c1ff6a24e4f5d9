# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses to plain JSON values and back, refusing anything that does not fit."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from asl_fast.files import read_json
from asl_fast.wording import nearest

T = TypeVar("T")

LATER = {"later": True}
"""Metadata of a field that older files do not have, and whose default is how things were before it came.

Where the default is another, ``{"before": value}`` says how things were.
"""


def formerly(name: str, values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the metadata of a field that has taken the place of another, which older files have.

    Args:
        name: Of the other.
        values: What each of its values is in the new field.
    """
    return {**LATER, "formerly": (name, values)}


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a dataclass into nested dictionaries, lists and scalars, ready for JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """List the values of nested dataclasses by dotted name, such as ``{"model.width": 128}``."""
    flat: dict[str, Any] = {}
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{entry.name}.")
        else:
            flat[prefix + entry.name] = value
    return flat


def differing(first: Any, second: Any) -> list[str]:
    """Find the dotted names whose values differ between two configurations of one type."""
    left, right = flatten(first), flatten(second)
    return [name for name in left | right if left.get(name, "absent") != right.get(name, "absent")]


def from_dict(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Make a dataclass from what `to_dict` gave.

    Args:
        kind: The dataclass; all of its fields must be there, but those that are None or empty text unless given:
            files of an earlier version do not have the newest of these, nor those whose metadata say so (`LATER`).
        values: Of its fields.
        where: The file they come from, for messages.

    Raises:
        ValueError: For a key that ``kind`` does not have (with the nearest that it has), one that is missing, or a
            value of another type; the message begins with ``where``.
    """
    return kind(**_arguments(kind, values, where, ""))


def _arguments(kind: Any, values: Mapping[str, Any], where: str, path: str) -> dict[str, Any]:
    """Turn JSON values into the arguments of a dataclass; ``path`` is the dotted name of its place, with a last dot."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: {path.rstrip('.') or 'the file'} must hold keys and values, found {values!r:.80}")
    values = _renewed(kind, values, where, path)
    hints = get_type_hints(kind)
    names = [entry.name for entry in dataclasses.fields(kind)]
    before = {entry.name: entry.metadata["before"] for entry in dataclasses.fields(kind) if "before" in entry.metadata}
    for key in values:
        if key not in names:
            raise ValueError(f"{where}: unknown key {path + key!r}; {nearest(key, names)}")
    optional = [
        entry.name
        for entry in dataclasses.fields(kind)
        if entry.default is None or entry.default == "" or "later" in entry.metadata
    ]
    values = before | dict(values)
    missing = [path + name for name in names if name not in values and name not in optional]
    if missing:
        raise ValueError(f"{where}: missing {', '.join(missing)}")
    return {name: _convert(hints[name], values[name], where, path + name) for name in names if name in values}


def _renewed(kind: Any, values: Mapping[str, Any], where: str, path: str) -> Mapping[str, Any]:
    """Put the values of fields that are no more into those that have taken their place."""
    for entry in dataclasses.fields(kind):
        former, renewed = entry.metadata.get("formerly", (None, {}))
        if former in values and entry.name not in values:
            given = values[former]
            if not isinstance(given, (bool, int, str)) or given not in renewed:
                raise ValueError(f"{where}: {path + former} must be one of {[*renewed]}, found {given!r}")
            values = {entry.name: renewed[given], **{key: value for key, value in values.items() if key != former}}
    return values


def _convert(hint: Any, value: Any, where: str, path: str) -> Any:
    """Turn a JSON value into what the type of a field asks for; ``path`` is the dotted name of the field."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        inner = [argument for argument in arguments if argument is not type(None)]
        for argument in inner[:-1]:
            with contextlib.suppress(ValueError):
                return _convert(argument, value, where, path)
        return _convert(inner[-1], value, where, path)
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return hint(**_arguments(hint, value, where, path + "."))
    if origin is tuple and isinstance(value, (list, tuple)):
        if arguments[-1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        if len(arguments) == len(value):
            pairs = enumerate(zip(arguments, value, strict=True))
            return tuple(_convert(a, v, where, f"{path}[{i}]") for i, (a, v) in pairs)
    elif origin is Literal:
        if value in arguments:
            return value
        raise ValueError(f"{where}: {path} is {value!r:.80}; {nearest(str(value), map(str, arguments))}")
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif type(value) is hint:
        return value
    raise ValueError(f"{where}: {path} must be {getattr(hint, '__name__', hint)}, found {value!r:.80}")


def read_config(kind: type[T], path: Path) -> T:
    """Read a configuration saved as JSON.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: Naming the file, for anything that is not exactly a ``kind``.
    """
    return from_dict(kind, read_json(path), str(path))
