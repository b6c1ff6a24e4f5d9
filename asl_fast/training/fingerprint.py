# SPDX-License-Identifier: Apache-2.0
"""What tells one data set from another, cheap enough to be taken before every run."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.features.rows import Rows, open_rows
from asl_fast.wording import count, examples

FEATURE_BYTES = 256_000_000
"""Features of all videos are looked at up to this size; of a larger data set as many videos as this many bytes hold."""
_SYNTHETIC_VIDEOS = 4


def fingerprint(bundle: DatasetBundle) -> dict[str, Any]:
    """Take the fingerprint of a data set, ready for JSON.

    Returns:
        ``classes``: their names. ``feature_dim``. For ``train`` and ``test`` each: ``videos``, how many there are;
        ``names``, ``annotations``, ``lengths`` and ``features``: digests over all of them in their order. Of a large
        data set, and of a synthetic twin, which its seed determines, the features of some videos are looked at.
    """
    return {
        "classes": list(bundle.class_names),
        "feature_dim": bundle.feature_dim,
        "train": _split(bundle.train, bundle.synthetic),
        "test": _split(bundle.test, bundle.synthetic),
    }


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in what two data sets differ, such as ``annotations of the training videos``; empty where they are the same.

    Args:
        saved: Fingerprint of the first.
        now: Fingerprint of the second.
    """
    found = []
    if saved.get("classes") != now["classes"]:
        found.append(_classes(saved.get("classes") or (), now["classes"]))
    if saved.get("feature_dim") != now["feature_dim"]:
        found.append(f"features of width {saved.get('feature_dim')} there, {now['feature_dim']} now")
    for split, name in (("train", "training"), ("test", "test")):
        before, after = saved.get(split) or {}, now[split]
        if before.get("videos") != after["videos"]:
            found.append(f"{before.get('videos')} {name} videos there, {after['videos']} now")
        elif before.get("names") != after["names"]:
            found.append(f"names or order of the {name} videos")
        else:
            kinds = ("annotations", "lengths", "features")
            found += [f"{kind} of the {name} videos" for kind in kinds if before.get(kind) != after[kind]]
    return found


def _classes(before: Sequence[str], after: Sequence[str]) -> str:
    gone, new = ([name for name in one if name not in other] for one, other in ((before, after), (after, before)))
    parts = [f"{word} {examples(names)}" for word, names in (("without", gone), ("with", new)) if names]
    changed = " and ".join(parts) or "reordered"
    return f"{count(len(before), 'class', 'classes')} there, {len(after)} now, {changed}"


def _split(dataset: DetectionDataset, synthetic: bool) -> dict[str, Any]:
    videos, store = dataset.videos, dataset.store
    lengths = [int(store.length(video.id)) for video in videos]
    annotations = (
        part
        for video in videos
        for part in (
            repr((video.duration_sec, video.fps)).encode(),
            video.segments_sec.tobytes(),
            video.labels.tobytes(),
        )
    )
    return {
        "videos": len(videos),
        "names": _digest(video.id.encode("utf-8", "surrogatepass") for video in videos),
        "annotations": _digest(annotations),
        "lengths": _digest([np.asarray(lengths, np.int64).tobytes()]),
        "features": _digest(
            _checksum(open_rows(store, videos[index].id)).to_bytes(4, "little")
            for index in _chosen(lengths, store.dim, synthetic)
        ),
    }


def _checksum(rows: Rows) -> int:
    found = 0
    for part in rows.parts():
        found = zlib.crc32(np.ascontiguousarray(part).data, found)
    return found


def _chosen(lengths: Sequence[int], dim: int, synthetic: bool) -> list[int]:
    """Choose the videos whose features are looked at: all, or evenly spread ones."""
    share = min(1.0, FEATURE_BYTES / max(1, 4 * dim * sum(lengths)))
    number = min(len(lengths), _SYNTHETIC_VIDEOS) if synthetic else max(1, int(share * len(lengths)))
    return [int(index) for index in np.linspace(0, len(lengths) - 1, number)]


def _digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()[:32]
