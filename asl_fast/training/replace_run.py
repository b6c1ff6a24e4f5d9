# SPDX-License-Identifier: Apache-2.0
"""A run that takes the place of another: the old one is whole or gone at every moment, and never mixed with the new."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from asl_fast.training.run_folder import RunFolder, RunFolderError
from asl_fast.training.run_lock import NAME, RunLock


def replace_run(folder: RunFolder, lock: RunLock) -> RunLock:
    """Put an empty folder in the place of a run, which waits beside it until the new run has its first checkpoint.

    What else lies in the folder stays there. Where the run to be replaced has itself replaced another and never came to
    a checkpoint, that other one goes on waiting.

    Args:
        folder: Holds the run.
        lock: Of that folder; it is released.

    Returns:
        The lock of the empty folder.

    Raises:
        RunFolderError: When the folder cannot be moved; everything is as before then.
    """
    # Behind a symbolic link, so that the folder is moved and not the link to it.
    path = folder.path.resolve()
    waiting = folder.replaced
    if waiting.exists() and folder.last.exists():
        shutil.rmtree(waiting)
    dropped = path.with_name(f".{path.name}.{os.getpid()}.dropped")
    aside = dropped if waiting.exists() else waiting
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    new_lock: RunLock | None = None
    try:
        fresh.mkdir()
        # Locked before anybody can find it.
        new_lock = RunLock(fresh)
        path.rename(aside)
        try:
            fresh.rename(path)
        except OSError:
            aside.rename(path)
            raise
    except OSError as error:
        if new_lock is not None:
            new_lock.release()
        shutil.rmtree(fresh, ignore_errors=True)
        raise RunFolderError(
            f"cannot move the run in {folder.path} away: {error.strerror or error}; remove it by hand or choose "
            "another --output"
        ) from None
    lock.moved(aside)
    new_lock.moved(path)
    lock.release()
    own = {*folder.entries, NAME}
    for entry in [entry for entry in aside.iterdir() if entry.name not in own]:
        entry.rename(path / entry.name)
    if aside == dropped:
        shutil.rmtree(aside)
    return new_lock


def drop_replaced(folder: RunFolder) -> None:
    """Remove the run that waits beside a folder, now that the new one has a checkpoint."""
    if folder.replaced.exists():
        shutil.rmtree(folder.replaced, ignore_errors=True)


def waiting_run(folder: RunFolder) -> Path | None:
    """Find the run that waits beside a folder; None where none does."""
    return folder.replaced if folder.replaced.exists() else None
