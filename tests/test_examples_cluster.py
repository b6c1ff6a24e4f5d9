# SPDX-License-Identifier: Apache-2.0
"""The jobs for clusters start training by options that it has."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from asl_fast.training.request import parse

FOLDER = Path(__file__).parents[1] / "examples" / "cluster"


def test_kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml", reason="needs pyyaml")
    service, job = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    words = container["command"]
    machines = int(next(word for word in words if word.startswith("--nnodes=")).split("=")[1])
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == machines
    assert job["metadata"]["name"] == service["spec"]["selector"]["job-name"]
    name = f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert f"--master-addr={name}" in words
    assert pod["subdomain"] == service["metadata"]["name"]
    assert f"--nproc-per-node={container['resources']['limits']['nvidia.com/gpu']}" in words
    monkeypatch.chdir(tmp_path)
    asked = words[words.index("asl_fast.train") + 1 :]
    request = parse([word.replace("/data/", f"{tmp_path}/") for word in asked])
    assert request.resume
    assert request.config.dataset == "thumos14"


def test_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Stand-ins that say how they were called.
    for name, line in (("scontrol", "printf 'node7\\nnode8\\n'"), ("srun", 'printf "%s\\n" "$@" > called')):
        stand_in = tmp_path / name
        stand_in.write_text(f"#!/bin/sh\n{line}\n")
        stand_in.chmod(0o755)
    job = {
        "SLURM_JOB_ID": "5",
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_GPUS_ON_NODE": "4",
    }
    subprocess.run(
        ["bash", str(FOLDER / "slurm.sh"), "--dataset", "thumos14", "--epochs", "3"],
        cwd=tmp_path,
        env=job | {"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
    )
    words = (tmp_path / "called").read_text().splitlines()
    assert words[0] == "torchrun"
    assert {"4", "node7:29400", "asl_fast.train"} <= set(words)
    monkeypatch.chdir(tmp_path)
    request = parse(words[words.index("asl_fast.train") + 1 :])
    assert request.resume
    assert request.config.epochs == 3
    assert request.folder.path == Path("runs/slurm-5"), shlex.join(words)
