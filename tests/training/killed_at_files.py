# SPDX-License-Identifier: Apache-2.0
"""Kills a run at drawn file operations, resumes it and prints where the result differs: ``python -m ... FOLDER COUNT``.

Each run is a process of its own that ends by SIGKILL right before it opens, renames or removes something in its run
folder: between any two of these operations at least once in a few hundred draws.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from asl_fast.data.bundle import DatasetBundle
from asl_fast.training.loop import train
from asl_fast.training.run_folder import RunFolder
from tests.training.tiny import CPU, tiny_bundle, tiny_config

OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


def run_in(path: Path, bundle: DatasetBundle, *, resume: bool = False) -> None:
    """Train for a few epochs in a folder, scoring every second one."""
    folder = RunFolder(path)
    folder.create()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        train(tiny_config(epochs=2), bundle, folder, CPU, dataset_record={"name": "tiny"}, resume=resume)


def in_a_process(path: Path, bundle: DatasetBundle, fatal: int | None, *, resume: bool = False) -> tuple[int, int]:
    """Train in a child process that is killed before its ``fatal``-th file operation.

    Returns:
        The child's status as `os.waitpid` gives it, and the number of its file operations where it was not killed.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            counted = pipe.read()
        return os.waitpid(child, 0)[1], int(counted or 0)
    os.close(reader)
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in OPERATIONS and isinstance(arguments[0], (str, os.PathLike)):
            seen += str(arguments[0]).startswith(str(path))
            if seen == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        run_in(path, bundle, resume=resume)
        os.write(writer, str(seen).encode())
        os._exit(0)
    finally:
        os._exit(1)


def main(folder: Path, kills: int) -> None:
    """Kill and resume, and print one JSON line for each."""
    torch.set_num_threads(1)
    # What torch prepares at its first steps, every child then has.
    straight, bundle = folder / "straight", tiny_bundle()
    run_in(folder / "first", bundle)
    status, operations = in_a_process(straight, bundle, None)
    print(json.dumps({"operations": operations, "status": status}), flush=True)
    generator = random.Random(7)
    for number in range(kills):
        path, fatal = folder / f"killed-{number}", generator.randint(1, operations)
        killed, _ = in_a_process(path, bundle, fatal)
        resumed, _ = in_a_process(path, bundle, None, resume=True)
        print(json.dumps({"fatal": fatal, "killed": killed, "resumed": resumed, "folder": path.name}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
