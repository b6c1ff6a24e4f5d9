# SPDX-License-Identifier: Apache-2.0
"""Features of the cases in the layouts that people have."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

Array = np.ndarray


def write_features(
    folder: Path, arrays: Mapping[str, Array], asked: Mapping[str, str], subsets: Mapping[str, str]
) -> Path:
    """Write one file per video, or one HDF5 file for all.

    Args:
        folder: Where to; an HDF5 file has its name and ``.h5``.
        arrays: (T, D) by video.
        asked: ``as`` is the format (npy), ``name`` the file's name with ``@`` for the video's, ``shape`` puts
            dimensions of size one around (``1TC``, ``TC11``) or has several views (``5TC``); ``nested=1`` has a folder
            for each subset; ``keys=rgb,flow`` writes entries of these names into one file, ``files=rgb,flow`` a file
            for each, ``folders=rgb,flow`` a folder; ``bad=nan``, ``huge``, ``nudged``, ``narrow``, ``flat``,
            ``scalar``, ``far``, ``farthest`` or ``pipe`` changes the first video, ``bad=all``, ``same`` or ``tiny`` all
            of them, ``doubled`` every second one; ``bad=hidden`` writes the file beside it that a system leaves.
        subsets: Of each video.

    Returns:
        The folder or file.
    """
    kind, name, keys = asked.get("as", "npy"), asked.get("name", "@"), asked.get("keys", "").split(",")
    folders, files = (asked.get(key, "").split(",") for key in ("folders", "files"))
    groups: dict[str, Array] = {}
    for index, (video, values) in enumerate(arrays.items()):
        array = _spoilt(values, asked.get("bad", ""), index)
        shape = asked.get("shape", "")
        if shape:
            array = {"1TC": array[None], "TC11": array[:, :, None, None], "5TC": np.stack([array] * 5)}[shape]
        for folder_name in folders:
            place = folder / folder_name if folder_name else folder / subsets[video] if "nested" in asked else folder
            for part in files:
                stem = name.replace("@", video) + part
                if kind == "h5":
                    groups |= {f"{folder_name}/{stem}/{key}".strip("/"): array for key in keys}
                    continue
                place.mkdir(parents=True, exist_ok=True)
                if asked.get("bad") == "pipe" and not index:
                    os.mkfifo(place / f"{stem}.{kind}")
                    continue
                _write(place / f"{stem}.{kind}", kind, {key: array for key in keys})
                if asked.get("bad") == "hidden" and not index:
                    (place / f"._{stem}.{kind}").write_bytes(b"0")
    if kind != "h5":
        return folder
    _hdf5(folder.with_suffix(".h5"), groups)
    return folder.with_suffix(".h5")


def _spoilt(array: Array, bad: str, index: int) -> Array:
    spoilt = array.copy()
    if bad == "all" or (bad == "nan" and not index):
        spoilt[0, 0] = np.nan
    if bad == "nudged" and not index:
        spoilt[0, 0] += 1
    if bad == "huge" and not index:
        spoilt[0, 0] = 1e30
    if bad in ("far", "farthest") and not index:
        spoilt[0, 0] = 7e4 if bad == "far" else -1e17
    if bad == "doubled" and index % 2:
        return spoilt.repeat(2, axis=0)
    if bad in ("same", "tiny"):
        return np.zeros_like(spoilt) if bad == "same" else spoilt * np.float32(1e-9)
    if index:
        return spoilt
    odd = {"narrow": spoilt[:, 1:], "flat": spoilt.ravel(), "scalar": np.array(np.float32(1))}
    return odd.get(bad, spoilt)


def _write(path: Path, kind: str, entries: Mapping[str, Array]) -> None:
    first = next(iter(entries.values()))
    alone = list(entries) == [""]
    if kind == "npy":
        np.save(path, first)
    elif kind == "npz":
        np.savez(path, **({"feats": first} if alone else dict(entries)))
    elif kind == "pt":
        torch.save(
            torch.from_numpy(first) if alone else {key: torch.from_numpy(value) for key, value in entries.items()}, path
        )
    elif kind in ("csv", "tsv"):
        separator = "," if kind == "csv" else "\t"
        header = separator.join(f"f{i}" for i in range(first.shape[1]))
        np.savetxt(path, first, delimiter=separator, header=header, comments="")
    elif kind == "mat":
        from scipy.io import savemat

        savemat(path, {"feat": first})
    else:
        path.write_bytes(pickle.dumps(first))


def _hdf5(path: Path, groups: Mapping[str, Array]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for place, array in groups.items():
            file[place] = array
