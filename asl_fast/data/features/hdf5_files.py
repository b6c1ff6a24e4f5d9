# SPDX-License-Identifier: Apache-2.0
"""Arrays in HDF5 files: found without leaving the file, and no larger than what is stored explains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asl_fast.data.features.array_entries import Unusable, choose_key, no_entry
from asl_fast.files import check_unpacked, require_file

HDF5 = (".h5", ".hdf5")
_MOST_LINKS = 16


def open_hdf5(path: Path) -> Any:
    """Open the file for reading.

    Raises:
        FileNotFoundError: When there is no such file.
        ImportError: Saying how to install h5py when it is missing.
        ValueError: When it is no HDF5 file.
    """
    require_file(path)
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"reading {path} needs h5py: pip install h5py") from error
    try:
        return h5py.File(path, "r")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} is not a complete HDF5 file ({error}); copy it again") from error


def names_in(group: Any) -> list[str]:
    r"""List the entries of a file or group. Bytes that are no UTF-8 are shown as ``\x80``: no entry has that name."""
    # h5py gives bytes for those.
    return [name if isinstance(name, str) else name.decode("utf-8", "backslashreplace") for name in group]


def hdf5_array(group: Any, key: str | None) -> Any:
    """Find the data set to read of an HDF5 file or group, chosen as `choose_key` does.

    Links are followed within the file alone: another file's bytes are not this file's features.

    Raises:
        Unusable: Listing the entries when that is not clear; for a group, a link that leads nowhere, into another file
            or in a circle, an array whose values lie in other files, and one far larger than what is stored of it.
    """
    name = key if key is not None else choose_key(names_in(group), None)
    return checked_array(hdf5_entry(group, name), name)


def hdf5_entry(group: Any, name: str, links: int = 0) -> Any:
    """Follow a path of names and links from a group on; errors as of `hdf5_array`."""
    # Optional: who has no HDF5 file needs none. Whoever gets here has opened one with it.
    import h5py

    node = group
    for part in name.split("/"):
        if part in ("", "."):
            continue
        if not isinstance(node, h5py.Group):
            raise Unusable(f"no entry {name!r}: what {part!r} should be in is an array")
        try:
            link = node.get(part, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise Unusable(
                    f"entry {part!r} is a link into another file, {link.filename!r}, which is not followed; copy the "
                    "array into this one"
                )
            if not isinstance(link, h5py.SoftLink):
                node = node[part]
                continue
        except Unusable:
            raise
        except (KeyError, OSError, RuntimeError, TypeError, ValueError):
            found = no_entry(name, names_in(node))
            raise Unusable(f"entry {part!r} is a link that leads nowhere" if links else found) from None
        if links >= _MOST_LINKS:
            raise Unusable(f"entry {part!r} is a link in a circle, or through more than {_MOST_LINKS} others")
        try:
            node = hdf5_entry(node.file if link.path.startswith("/") else node, link.path, links + 1)
        except Unusable as error:
            raise Unusable(f"entry {part!r} is a link to {link.path!r}: {error}" if not links else str(error)) from None
    return node


def checked_array(node: Any, name: str) -> Any:
    """Return an array that can be read; errors as of `hdf5_array`."""
    import h5py

    if isinstance(node, h5py.Group):
        inside = ", ".join(map(repr, names_in(node)[:8])) or "nothing"
        raise Unusable(
            f"entry {name!r} is a group with {inside} inside, not an array; choose with --feature-key {name}/NAME"
        )
    if not isinstance(node, h5py.Dataset) or node.shape is None:
        raise Unusable(f"entry {name!r} holds no array")
    if node.is_virtual or node.external:
        raise Unusable(f"entry {name!r} has its values in other files, which are not read; copy them into this one")
    if node.dtype.kind == "f":
        check_unpacked(node.size * node.dtype.itemsize, node.id.get_storage_size(), f"entry {name!r}")
    return node
