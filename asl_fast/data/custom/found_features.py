# SPDX-License-Identifier: Apache-2.0
"""The features of one's own data: how their files are named and read, found out where it is not told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.features.affix import Affixes, common_affixes, near_names, several_streams
from asl_fast.data.features.array_files import TABLES
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.manifest_file import MANIFEST_NAME, find_manifest, read_manifest
from asl_fast.data.features.opening import JOIN, open_features
from asl_fast.data.features.packed_store import PackedFeatureStore, is_packed
from asl_fast.data.features.reading import FeatureReading
from asl_fast.data.features.store import NamedFeatureStore
from asl_fast.wording import count

READING_FIELDS = ("prefix", "suffix", "layout", "key", "extension")
"""Fields of a manifest that say how files are read."""


@dataclass(frozen=True, eq=False)
class FoundFeatures:
    """Features of annotated videos.

    Attributes:
        store: All of them.
        videos: Videos that have some.
        manifest: The given one, or one of which only what says how files are read is meant; both with what was found.
        is_given: Whether the manifest was given.
        words: How files are named and read.
    """

    store: NamedFeatureStore
    videos: list[Video]
    manifest: FeatureManifest
    is_given: bool
    words: str


def find_features(
    read: Annotations,
    paths: Sequence[Path],
    annotations: str | Path,
    manifest: str | FeatureManifest | None,
    reading: FeatureReading,
) -> FoundFeatures:
    """Find the features of annotated videos.

    Args:
        read: The annotations.
        paths: Feature folders or files, several to be put side by side.
        annotations: File of the annotations, for messages.
        manifest: As of `open_own_data`.
        reading: What was told about the files.

    Raises:
        FileNotFoundError, ValueError: As `open_own_data`.
    """
    given = _given(manifest, paths[0], None)
    layout = reading.applied(given if given is not None else FeatureManifest(read.name, 1, None))
    if reading.feature_prefix is None and reading.feature_suffix is None:
        layout = _with_affixes(layout, read, paths, told=given is not None)
    store = open_features(paths, layout.store_options)
    if given is not None:
        own = _given(manifest, paths[0], store.dim)
        assert own is not None
        layout = replace(own, **{name: getattr(layout, name) for name in READING_FIELDS})
        if layout.dim != store.dim:
            raise ValueError(
                f"{read.name}: features in {', '.join(map(str, paths))} have width {store.dim}, but manifest "
                f"{layout.name!r} says {layout.dim}; is it the manifest of these features?"
            )
    present = [video for video in read.videos.values() if video.id in store]
    if not present:
        hint = near_names(list(read.videos), store.names, Affixes(layout.prefix, layout.suffix))
        raise FileNotFoundError(
            f"none of the {count(len(read.videos), 'video')} of {annotations} has features in "
            f"{', '.join(map(str, paths))}: {hint.found}; {hint.fix}"
        )
    if layout.layout is None and getattr(store, "transposed", False):
        layout = replace(layout, layout="CT")
    found = reading.feature_prefix is None and reading.feature_suffix is None and given is None
    return FoundFeatures(store, present, layout, given is not None, _words(layout, store, present[0], paths, found))


def _given(manifest: str | FeatureManifest | None, folder: Path, dim: int | None) -> FeatureManifest | None:
    """Return the manifest that was given, lies beside the features or in the packed store.

    Without ``dim`` its width means nothing yet: how files are read has to be known first.
    """
    width = 1 if dim is None else dim
    if isinstance(manifest, FeatureManifest):
        return manifest
    if manifest is not None:
        return find_manifest(manifest, width)
    if is_packed(folder):
        return PackedFeatureStore(folder).manifest
    beside = (folder if folder.is_dir() else folder.parent) / MANIFEST_NAME
    return read_manifest(beside, width) if beside.is_file() else None


def _with_affixes(layout: FeatureManifest, read: Annotations, paths: Sequence[Path], *, told: bool) -> FeatureManifest:
    """Find the text around video names; a manifest's own stays where it fits, or says that there is some."""
    if told:
        if layout.prefix or layout.suffix:
            return layout
        store = open_features(paths, layout.store_options)
        if any(video in store for video in read.videos):
            return layout
    found: list[Affixes] = []
    for path in paths:
        names = open_features([path], replace(layout, prefix="", suffix="").store_options).names
        around = common_affixes(read.videos, names)
        if len(around) > 1:
            raise ValueError(several_streams(around, str(path)))
        found.append(around[0] if around else Affixes("", ""))

    def joined(texts: Sequence[str]) -> str:
        return texts[0] if len(set(texts)) == 1 else JOIN.join(texts)

    return replace(
        layout, prefix=joined([each.prefix for each in found]), suffix=joined([each.suffix for each in found])
    )


def _words(layout: FeatureManifest, store: NamedFeatureStore, first: Video, paths: Sequence[Path], found: bool) -> str:
    affixes = Affixes(layout.prefix, layout.suffix)
    parts = [f"files are named {affixes}" if affixes != ("", "") else "files are named as the videos"]
    if found and affixes != ("", ""):
        parts[0] += " (--feature-prefix, --feature-suffix)"
    source_files = getattr(store, "source_files", None)
    files: Sequence[Path] = () if source_files is None else source_files(first.id)
    if inside := [file for file in files if file.parent not in paths and file not in paths]:
        parts.append(f"in folders inside, such as {inside[0].parent.name}/")
    if text := [file.suffix for file in files if file.suffix.lower() in TABLES]:
        parts.append(f"as {text[0]} tables")
    if layout.key is not None:
        parts.append(f"entry {layout.key!r} of each")
    if layout.layout == "CT":
        parts.append("read as (channels, time)")
    return ", ".join(parts)
