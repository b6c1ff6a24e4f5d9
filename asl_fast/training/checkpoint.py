# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: plain tensors and containers, written atomically, read without running code; and what they restore."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asl_fast.files import atomic_write, require_file
from asl_fast.models.actionformer_files import looks_like_actionformer
from asl_fast.models.content import digest, first_non_finite, walk
from asl_fast.serialization import differing, flatten, from_dict
from asl_fast.training.config import TrainConfig
from asl_fast.training.fingerprint import differences

FORMAT = 1

MAY_CHANGE = frozenset(
    {
        "data_root",
        "annotations",
        "features",
        "init_from",
        "af_config",
        "output",
        "device",
        "compile",
        "graph",
        "threads",
        "process_timeout_sec",
        "log_every",
        "logger",
        "profile",
        "data.num_workers",
        "data.cache",
        "data.columns",
        "data.durations",
    }
)
"""Fields that a resumed run may set anew, as all of inference and evaluation: where and how fast, not what is trained.
More epochs extend the run."""

SCORED_BY = ("inference.", "evaluation.tiou_thresholds", "evaluation.convention")
"""Beginnings of the fields that decide the score by which the best checkpoint is chosen."""


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or belongs to another configuration."""


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint with a digest over all of it; the old one stays until the new one is complete.

    Args:
        path: The file.
        content: Tensors and plain values, nested in dictionaries and lists.

    Raises:
        OSError: Naming the file, when the disk does not take it.
    """
    content = {"format": FORMAT, **content}
    with atomic_write(path) as file:
        try:
            torch.save({**content, "digest": digest(content)}, file)
        except RuntimeError as error:
            # torch hides a failed write behind its own error; ask the file itself.
            file.write(b"\0" * 65536)
            file.flush()
            raise OSError(str(error).splitlines()[0]) from None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, which cannot run code (``weights_only=True``), and check that it is whole.

    Its tensors and values must have the digest that was written with them. Those without one, of an older version, must
    have the check sums of the zip archive that they are.

    Raises:
        FileNotFoundError: When there is none.
        CheckpointError: For a truncated or damaged file, or one that is no asl_fast checkpoint.
    """
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint {path}; was the run stopped before its first epoch ended?")
    try:
        require_file(path)
        _check_archive(path, tensors=False)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file makes its readers raise has no end
        # torch asks its own users for better messages at the end of some.
        text = str(error).strip().partition("  (Could this")[0]
        reason = text.splitlines()[0][:160] if text else type(error).__name__
        raise CheckpointError(
            f"{path} ({_size(path)}) is truncated or not a checkpoint of asl_fast: {reason}; "
            "use another checkpoint or train again"
        ) from None
    if looks_like_actionformer(content):
        raise CheckpointError(
            f"{path} is a checkpoint of ActionFormer, not of asl_fast: detect with it by --actionformer {path} YAML, "
            f"train on from it by --init-from {path} --af-config YAML"
        )
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path} is not a checkpoint of this version of asl_fast (format {found}, not {FORMAT})")
    written = content.pop("digest", None)
    try:
        _check_sizes(content, path.stat().st_size)
        if written is None:
            _check_archive(path, tensors=True)
        elif digest(content) != written:
            raise ValueError("its content has another digest than what was written")
    except (ValueError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is damaged: {error}; use another checkpoint or train again") from None
    return content


def check_finite(content: Mapping[str, Any], parts: Iterable[str], path: Path) -> None:
    """Check that the weights of a checkpoint are numbers.

    Args:
        content: Of the checkpoint.
        parts: Its keys to look at, such as "average".
        path: Where the checkpoint lies, for the message.

    Raises:
        CheckpointError: Naming the first tensor that holds NaN or infinity.
    """
    for part in parts:
        if found := first_non_finite(content.get(part), part):
            raise CheckpointError(f"{path}: {found}, so it would find nothing; use another checkpoint or train again")


def _check_archive(path: Path, *, tensors: bool) -> None:
    """Check the records of the zip archive that a checkpoint is, which torch itself does not.

    Args:
        path: The file.
        tensors: Check the bytes of tensors as well.

    Raises:
        ValueError, OSError, zipfile.BadZipFile: Naming the damaged record.
    """
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"record {record.filename!r} is compressed, which no checkpoint is")
            if tensors or "/data/" not in record.filename:
                with archive.open(record) as file:
                    # Reading to the end compares the check sum.
                    while file.read(1 << 20):
                        pass


def _check_sizes(content: Mapping[str, Any], available: int) -> None:
    """Refuse tensors that promise more numbers than the file has bytes for, before memory is taken for them."""
    for place, value in walk(content):
        if isinstance(value, Tensor) and value.numel() * value.element_size() > available:
            raise ValueError(f"{place} has shape {tuple(value.shape)}, more than the file holds")


def _size(path: Path) -> str:
    try:
        return f"{path.stat().st_size} bytes"
    except OSError as error:
        return str(error.strerror)


def check_same_config(content: Mapping[str, Any], config: TrainConfig, path: Path) -> None:
    """Check that a run may go on from a checkpoint.

    Args:
        content: Of the checkpoint.
        config: Of the run.
        path: Where the checkpoint lies, for the message.

    Raises:
        CheckpointError: Naming the fields in which the two configurations differ.
    """
    saved = saved_config(content, path)
    if differences := describe_differences(saved, config):
        raise CheckpointError(f"{path} was trained with another configuration: {differences}")


def check_same_data(saved: Mapping[str, Any], record: Mapping[str, Any], path: Path) -> bool:
    """Check that a run goes on with the data it began with.

    Args:
        saved: What the run says of its data set, see `asl_fast.training.data.describe_dataset`.
        record: The same of the data set that is there now.
        path: Where ``saved`` lies, for the message.

    Returns:
        False where one of the two has no fingerprint, so that nothing could be compared.

    Raises:
        CheckpointError: Naming in what the data sets differ.
    """
    before, now = saved.get("fingerprint"), record.get("fingerprint")
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return False
    if found := differences(before, now):
        raise CheckpointError(
            f"{path} was trained on other data: {'; '.join(found)}; restore them, or start anew with another --output"
        )
    return True


def saved_config(content: Mapping[str, Any], path: Path) -> TrainConfig:
    """Read the configuration in a checkpoint.

    Raises:
        CheckpointError: Naming what is missing or wrong in it.
    """
    try:
        return from_dict(TrainConfig, content["config"], str(path))
    except ValueError as error:
        raise CheckpointError(str(error)) from None


def describe_differences(saved: TrainConfig, config: TrainConfig) -> str:
    """Say ``model.width 128 there, 256 now; ...`` for the fields that differ and that a resumed run may not change."""
    there, now = flatten(saved), flatten(config)
    names = [name for name in differing(saved, config) if not _may_change(name, there, now)]
    # 0 asks for what the data set has, which the saved configuration knows already.
    names = [name for name in names if name not in ("model.feature_dim", "model.num_classes") or now[name]]
    return "; ".join(f"{name} {there.get(name, 'absent')} there, {now.get(name, 'absent')} now" for name in names)


def _may_change(name: str, there: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    extended = name == "epochs" and now[name] > there[name]
    return extended or name in MAY_CHANGE or name.startswith(("inference.", "evaluation."))


def scoring_changes(saved: TrainConfig, config: TrainConfig) -> list[str]:
    """Say ``inference.min_score 0.001 there, 0.01 now`` for each field by which the two runs score differently."""
    there, now = flatten(saved), flatten(config)
    names = [name for name in differing(saved, config) if name.startswith(SCORED_BY)]
    return [f"{name} {there[name]} there, {now[name]} now" for name in names]


def rng_state() -> dict[str, Any]:
    """Give the state of every random generator of this process, as tensors and plain values."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "python": [version, torch.tensor(internal), gauss_next],
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Set every random generator of this process to the state that `rng_state` gave."""
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss_next))


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
