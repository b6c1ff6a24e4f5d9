# SPDX-License-Identifier: Apache-2.0
"""UCI HAPT: smartphone recordings of 30 people in 12 activities (Reyes-Ortiz et al., Neurocomputing 2015).

Six channels at 50 Hz: acceleration x, y, z in g, then angular velocity x, y, z in rad/s. Read from the archive as
downloaded; its labels count samples from 1 and include their last sample.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.problems import Problems
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.channels import ChannelGroup
from asl_fast.data.datasets.archive import Archive, open_archive
from asl_fast.data.datasets.number_tables import parse_numbers
from asl_fast.data.signals.leave_one_out import leave_one_out
from asl_fast.data.signals.recordings import (
    SignalRecordings,
    SignalSettings,
    signal_bundle,
    signal_source,
    split_sources,
)
from asl_fast.data.source import DataSource

SAMPLE_RATE_HZ = 50.0
_RECORDING = re.compile(r"(?:^|/)acc_exp(\d{1,6})_user(\d{1,6})\.txt$")


class HaptRecordings(NamedTuple):
    """Signals (N, 6) float64 by video id, annotations (subsets ``train`` and ``test``), and the user of each video."""

    signals: dict[str, NDArray[np.float64]]
    annotations: Annotations
    users: dict[str, int]


def read_signals(data_root: str | Path, problems: Problems | None = None) -> dict[str, NDArray[np.float64]]:
    """Every ``acc_expNN_userNN.txt`` with its ``gyro_`` partner as (N, 6) float64; labels are not needed.

    Args:
        data_root: The zip, a folder that holds it, or the unpacked folder.
        problems: Collects unreadable recordings; None raises on the first.

    Raises:
        FileNotFoundError: When there is no recording.
        ValueError: For a partner that is missing, of another length, or a line that is not three finite numbers.
    """
    return _read_signals(open_archive(data_root, _RECORDING), problems or Problems("hapt", strict=True))


def _read_signals(archive: Archive, problems: Problems) -> dict[str, NDArray[np.float64]]:
    signals = {}
    for name in archive.names:
        match = _RECORDING.search(name)
        if match is None:
            continue
        video_id = _video_id(int(match[1]), int(match[2]))
        try:
            signals[video_id] = _read_recording(archive, name)
        except (ValueError, OSError) as error:
            problems.skip(video_id, "unreadable recording", error)
    return signals


def _read_recording(archive: Archive, acc_name: str) -> NDArray[np.float64]:
    head, _, tail = acc_name.rpartition("acc_")
    parts = []
    for name in (acc_name, f"{head}gyro_{tail}"):
        part = parse_numbers(archive.read(name), 3, archive.where(name))
        if not np.isfinite(part).all():
            line = int(np.argmin(np.isfinite(part).all(axis=1))) + 1
            raise ValueError(f"{archive.where(name)}, line {line}: value is not finite; download it again")
        parts.append(part)
    if len(parts[0]) != len(parts[1]):
        raise ValueError(
            f"{archive.where(acc_name)} has {len(parts[0])} samples but its gyroscope file {len(parts[1])}; "
            "one of the two is truncated, download it again"
        )
    return np.concatenate(parts, axis=1)


def _video_id(experiment: int, user: int) -> str:
    return f"exp{experiment:02d}_user{user:02d}"


def read_hapt(data_root: str | Path, *, strict: bool = False) -> HaptRecordings:
    """Read the whole data set with the official split by user.

    Args:
        data_root: The zip, a folder that holds it, or the unpacked folder.
        strict: Stop at an unusable recording instead of skipping it with a warning.

    Raises:
        FileNotFoundError: When a file that the split or the labels need is missing.
        ValueError: For labels that contradict the signals or the activity list.
    """
    archive = open_archive(data_root, _RECORDING)
    problems = Problems("hapt", strict=strict)
    signals = _read_signals(archive, problems)
    class_names = _class_names(archive)
    subsets: dict[int, str] = {}
    for subset in ("train", "test"):
        name = f"{subset.capitalize()}/subject_id_{subset}.txt"
        table = parse_numbers(archive.read(name), 1, archive.where(name))
        # One row per window, so the set of ids is what counts.
        users_here = {int(user): subset for user in np.unique(table)}
        both = sorted(subsets.keys() & users_here.keys())
        if both:
            raise ValueError(f"{archive.where(name)}: user {both[0]} is in subject_id_train.txt as well")
        subsets |= users_here

    where = archive.where("RawData/labels.txt")
    table = parse_numbers(archive.read("RawData/labels.txt"), 5, where)
    labels = table.astype(np.int64)
    if (labels != table).any():
        bad = table[(labels != table).any(axis=1)][0]
        raise ValueError(f"{where}: every value must be an integer, found {' '.join(f'{value:g}' for value in bad)!r}")
    known = {_video_id(int(row[0]), int(row[1])) for row in labels}
    for missing in sorted(known - signals.keys() - problems.skipped.keys()):
        problems.skip(
            missing, "recording without files", FileNotFoundError(f"{where} names {missing}, which is absent")
        )
    videos, users = {}, {}
    for video_id, signal in signals.items():
        experiment, user = int(video_id[3:5]), int(video_id[-2:])
        if user not in subsets:
            error = ValueError(f"user {user} is in neither subject_id_train.txt nor subject_id_test.txt")
            problems.skip(video_id, "user without a split", error)
            continue
        rows = labels[(labels[:, 0] == experiment) & (labels[:, 1] == user)]
        try:
            _check_labels(rows, len(signal), len(class_names), f"{where}, {video_id}")
        except ValueError as error:
            problems.skip(video_id, "bad labels", error)
            continue
        users[video_id] = user
        videos[video_id] = Video(
            id=video_id,
            subset=subsets[user],
            duration_sec=len(signal) / SAMPLE_RATE_HZ,
            segments_sec=np.stack([rows[:, 3] - 1, rows[:, 4]], axis=1) / SAMPLE_RATE_HZ,
            labels=rows[:, 2] - 1,
            fps=SAMPLE_RATE_HZ,
        )
    problems.summarise()
    return HaptRecordings(
        {key: signals[key] for key in videos}, Annotations("hapt", class_names, videos, problems.skipped), users
    )


def _class_names(archive: Archive) -> tuple[str, ...]:
    name = "activity_labels.txt"
    try:
        text = archive.read(name).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{archive.where(name)} is no text ({error}); download it again") from error
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if [row[0] for row in rows] != [str(number) for number in range(1, len(rows) + 1)]:
        raise ValueError(f"{archive.where(name)}: activities must be numbered from 1, found {[row[0] for row in rows]}")
    return tuple(" ".join(row[1:]) for row in rows)


def _check_labels(rows: NDArray[np.int64], num_samples: int, num_classes: int, where: str) -> None:
    for _, _, activity, start, end in rows:
        if not 1 <= activity <= num_classes:
            raise ValueError(f"{where}: activity {activity} is not among the {num_classes} of activity_labels.txt")
        if not 1 <= start <= end <= num_samples:
            raise ValueError(f"{where}: label {start} to {end} does not fit a recording of {num_samples} samples")


def split_users(users: list[int], fold: int, num_folds: int) -> tuple[list[int], list[int]]:
    """Users to train on and to hold out, as `split_sources` chooses them.

    Raises:
        ValueError: As `split_sources`.
    """
    return split_sources(users, fold, num_folds, "user")


def load_hapt(
    data_root: str | Path,
    *,
    samples_per_step: int = 12,
    fold: int | None = None,
    num_folds: int = 5,
    left_out_user: int | None = None,
    num_channels: int = 6,
    seed: int = 0,
    strict: bool = False,
) -> DatasetBundle:
    """Read HAPT from its files as a bundle; see `read_hapt` and `hapt_bundle` for the arguments."""
    return hapt_bundle(
        read_hapt(data_root, strict=strict),
        samples_per_step=samples_per_step,
        fold=fold,
        num_folds=num_folds,
        left_out_user=left_out_user,
        num_channels=num_channels,
        seed=seed,
    )


def hapt_bundle(
    recordings: HaptRecordings,
    *,
    samples_per_step: int = 12,
    fold: int | None = None,
    num_folds: int = 5,
    left_out_user: int | None = None,
    num_channels: int = 6,
    seed: int = 0,
) -> DatasetBundle:
    """Make a bundle of HAPT: 42 recordings of 21 users to train on, 19 of 9 users to test on.

    A feature vector holds ``samples_per_step`` consecutive normalised samples, first sample first, six channels each
    (see `FeatureTransform`). Mean and standard deviation come from the users trained on alone.

    Args:
        recordings: What `read_hapt` returns.
        samples_per_step: Raw samples per grid step (stride and window of the grid).
        fold: Hold out this fold of the training users as the test split; None is the official split.
        num_folds: Number of folds.
        left_out_user: Test on this user alone and train on all others, each user's recordings as one sequence.
        num_channels: Channels used, from the first: all 6, or the 3 of the acceleration.
        seed: Seed of the training crops.

    Raises:
        ValueError: When a split has no recording left, the fold or user does not exist, or a fold is held out of the
            training users while one user is left out of all.
    """
    if num_channels not in (3, 6):
        raise ValueError(f"num_channels must be 3 or 6, got {num_channels}")
    if left_out_user is not None and fold is not None:
        raise ValueError(f"fold {fold} and left_out_user {left_out_user} exclude each other; leave one of them out")
    signals = SignalRecordings(
        "UCI HAPT" if num_channels == 6 else "UCI HAPT, acceleration alone",
        {key: signal[:, :num_channels] for key, signal in recordings.signals.items()},
        recordings.annotations,
        SAMPLE_RATE_HZ,
        # Accelerometer and gyroscope sit in one phone, so that both turn with it.
        (ChannelGroup("triaxial", num_channels, "phone"),),
        recordings.users,
        source_noun="user",
    )
    if left_out_user is not None:
        signals = leave_one_out(signals, left_out_user)
    settings = SignalSettings(samples_per_step, fold=fold, num_folds=num_folds)
    return signal_bundle(signals, settings, seed=seed)


def open_hapt(
    data_root: str | Path,
    *,
    samples_per_step: int = 12,
    fold: int | None = None,
    num_folds: int = 5,
    left_out_user: int | None = None,
    num_channels: int = 6,
    strict: bool = False,
) -> DataSource:
    """Open HAPT from its files, unchecked; see `read_hapt` and `hapt_bundle` for the arguments."""
    bundle = load_hapt(
        data_root,
        samples_per_step=samples_per_step,
        fold=fold,
        num_folds=num_folds,
        left_out_user=left_out_user,
        num_channels=num_channels,
        strict=strict,
    )
    return signal_source(bundle, data_root)
