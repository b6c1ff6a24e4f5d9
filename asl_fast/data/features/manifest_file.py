# SPDX-License-Identifier: Apache-2.0
"""Manifests of one's own feature sets, as JSON beside the features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asl_fast.data.features.extraction import VIDEOS_KEY, VideoFacts, facts_as_json, parse_extraction
from asl_fast.data.features.manifest import FeatureManifest, combined_manifest
from asl_fast.files import number, read_json, write_json
from asl_fast.wording import nearest

MANIFEST_NAME = "manifest.json"
_FIELDS = tuple(entry.name for entry in dataclasses.fields(FeatureManifest))
_TEXTS = ("name", "prefix", "suffix", "layout", "key", "extension")
_MAY_BE_NULL = ("layout", "key", "extension")
_WHOLE = ("dim", "resize")


def find_manifest(name: str, dim: int | None = None) -> FeatureManifest:
    """Find the manifest of a JSON file, of a name in ``MANIFESTS``, or of several names joined by ``+``.

    Raises:
        FileNotFoundError, ValueError: As `read_manifest` and `combined_manifest`.
    """
    return read_manifest(name, dim) if name.endswith(".json") else combined_manifest(name)


def read_manifest(path: str | Path, dim: int | None = None) -> FeatureManifest:
    """Read a manifest from JSON.

    ``{"stride_frame": 4, "window_frame": 16, "fps": 30}`` and the other fields of `FeatureManifest`.

    Args:
        path: The file.
        dim: Width of the features, where the file does not say; None makes that an error.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: Naming the file, for an unknown key, a value that is no number, or no ``stride_frame``.
    """
    return parse_manifest(read_json(path), str(path), dim)


def write_manifest(path: Path, manifest: FeatureManifest, facts: Mapping[str, VideoFacts]) -> None:
    """Write a manifest with the facts of the videos that the features are of.

    Raises:
        OSError: Naming the file that cannot be written.
    """
    content = {key: value for key, value in dataclasses.asdict(manifest).items() if value not in (None, "")}
    content.setdefault("fps", None)
    content.setdefault("stride_frame", None)
    write_json(path, content | {VIDEOS_KEY: facts_as_json(facts)}, indent=1)


def parse_manifest(content: object, path: str, dim: int | None = None) -> FeatureManifest:
    """Make a manifest of what JSON holds; ``path`` says where, ``dim`` and errors as of `read_manifest`."""
    if not isinstance(content, dict):
        raise ValueError(f'{path}: expected {{"stride_frame": ..., "fps": ...}}, found {content!r:.80}')
    content = {key: value for key, value in content.items() if key != VIDEOS_KEY}
    for key in content:
        if key not in _FIELDS:
            raise ValueError(f"{path}: unknown key {key!r}; {nearest(key, _FIELDS)}")
    if "stride_frame" not in content:
        raise ValueError(f"{path}: no 'stride_frame'; give the frames between feature vectors, or null if they differ")
    if dim is None and content.get("dim") is None:
        raise ValueError(f"{path}: no 'dim'; give the width of the features")
    values: dict[str, Any] = {"name": Path(path).stem, "dim": dim}
    for key, value in content.items():
        if key == "extraction":
            values[key] = None if value is None else parse_extraction(value, f"{path}, {key!r}")
        elif key in _TEXTS and not (key in _MAY_BE_NULL and value is None):
            if not isinstance(value, str):
                raise ValueError(f"{path}: {key!r} must be text, found {value!r}")
            values[key] = value
        elif value is not None:
            found = number(value, f"{path}, {key!r}")
            if key in _WHOLE and found != int(found):
                raise ValueError(f"{path}: {key!r} must be a whole number, found {value!r}")
            values[key] = int(found) if key in _WHOLE else found
        else:
            values[key] = dim if key == "dim" else None
    try:
        return FeatureManifest(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
