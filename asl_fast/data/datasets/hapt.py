# SPDX-License-Identifier: Apache-2.0
"""UCI HAPT: smartphone recordings of 30 people in 12 activities (Reyes-Ortiz et al., Neurocomputing 2015).

Six channels at 50 Hz: acceleration x, y, z in g, then angular velocity x, y, z in rad/s. Read from the archive as
downloaded; its labels count samples from 1 and include their last sample.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.problems import Problems
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.datasets.archive import Archive, open_archive
from asl_fast.data.datasets.leave_one_out import leave_one_out
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.store import InMemoryFeatureStore
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.source import DataSource
from asl_fast.data.transform import FeatureTransform
from asl_fast.wording import count

SAMPLE_RATE_HZ = 50.0
NUM_CHANNELS = 6
_RECORDING = re.compile(r"(?:^|/)acc_exp(\d{1,6})_user(\d{1,6})\.txt$")


class HaptRecordings(NamedTuple):
    """Signals (N, 6) float64 by video id, annotations (subsets ``train`` and ``test``), and the user of each video."""

    signals: dict[str, NDArray[np.float64]]
    annotations: Annotations
    users: dict[str, int]


def parse_columns(text: bytes, columns: int, where: str) -> NDArray[np.float64]:
    """Parse a (N, columns) table of numbers separated by blanks; blank lines are ignored.

    Raises:
        ValueError: Naming the source and its first bad line.
    """
    # What follows a field that is not a number is left unread, with a warning or an error: the count of values tells.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            values = np.fromstring(text, dtype=np.float64, sep=" ")
        except ValueError:
            values = np.empty(0)
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    if values.size == lines * columns and values.size:
        return values.reshape(-1, columns)
    rows = [(number, line.split()) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]
    for number, row in rows:
        try:
            bad = len(row) != columns or not [float(field) for field in row]
        except ValueError:
            bad = True
        if bad:
            shown = b" ".join(row)[:80].decode(errors="replace")
            raise ValueError(f"{where}, line {number}: expected {columns} numbers, found {shown!r}; download it again")
    if not rows:
        raise ValueError(f"{where}: the file is empty; download it again")
    return values.reshape(-1, columns)


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
        part = parse_columns(archive.read(name), 3, archive.where(name))
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
        table = parse_columns(archive.read(name), 1, archive.where(name))
        # One row per window, so the set of ids is what counts.
        users_here = {int(user): subset for user in np.unique(table)}
        both = sorted(subsets.keys() & users_here.keys())
        if both:
            raise ValueError(f"{archive.where(name)}: user {both[0]} is in subject_id_train.txt as well")
        subsets |= users_here

    where = archive.where("RawData/labels.txt")
    table = parse_columns(archive.read("RawData/labels.txt"), 5, where)
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
    """Users to train on and to hold out: fold k holds out every ``num_folds``-th user, starting at the k-th.

    Raises:
        ValueError: When there are fewer users than folds, or no such fold.
    """
    if not 2 <= num_folds <= len(users):
        raise ValueError(f"num_folds must lie between 2 and the {len(users)} training users, got {num_folds}")
    if not 0 <= fold < num_folds:
        raise ValueError(f"fold must lie in 0 to {num_folds - 1}, got {fold}")
    held = sorted(users)[fold::num_folds]
    return [user for user in sorted(users) if user not in held], held


def load_hapt(
    data_root: str | Path,
    *,
    samples_per_step: int = 12,
    fold: int | None = None,
    num_folds: int = 5,
    left_out_user: int | None = None,
    num_channels: int = NUM_CHANNELS,
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
    num_channels: int = NUM_CHANNELS,
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
        num_channels: Channels used, from the first: 3 is the acceleration alone.
        seed: Seed of the training crops.

    Raises:
        ValueError: When a split has no recording left, the fold or user does not exist, or a fold is held out of the
            training users while one user is left out of all.
    """
    if not 1 <= num_channels <= NUM_CHANNELS:
        raise ValueError(f"num_channels must lie in 1 to {NUM_CHANNELS}, got {num_channels}")
    videos, signals, which = _chosen(recordings, fold, num_folds, left_out_user)
    annotations = replace(recordings.annotations, videos=videos)
    train, test = annotations.subset("train"), annotations.subset("test")
    used = {key: signals[key][:, :num_channels] for key in videos}
    transform = FeatureTransform.fit((used[video.id] for video in train), samples_per_step)
    store = InMemoryFeatureStore({key: transform(used[key]) for key in videos})
    grid = FeatureGrid(SAMPLE_RATE_HZ, samples_per_step, samples_per_step)
    channels = "" if num_channels == NUM_CHANNELS else f", first {count(num_channels, 'channel')}"
    return DatasetBundle(
        name="hapt",
        annotations=annotations,
        train=DetectionDataset(train, store, grid, training=True, seed=seed),
        test=DetectionDataset(test, store, grid),
        class_names=annotations.class_names,
        grid=grid,
        feature_dim=transform.feature_dim,
        synthetic=False,
        description=(
            f"UCI HAPT, {which}{channels}: {count(len(train), 'recording')} to train on, {len(test)} to test on"
        ),
        transform=transform,
        metadata={
            "samples_per_step": samples_per_step,
            "num_channels": num_channels,
            "fold": fold,
            "num_folds": num_folds,
            "left_out_user": left_out_user,
            "skipped": dict(recordings.annotations.skipped),
        },
    )


def _chosen(
    recordings: HaptRecordings, fold: int | None, num_folds: int, left_out_user: int | None
) -> tuple[dict[str, Video], dict[str, NDArray[np.float64]], str]:
    """Return videos with subsets ``train`` and ``test``, their signals, and in words what was held out."""
    videos, users = recordings.annotations.videos, recordings.users
    if left_out_user is not None:
        if fold is not None:
            raise ValueError(f"fold {fold} and left_out_user {left_out_user} exclude each other; leave one of them out")
        joined, signals = leave_one_out(videos, recordings.signals, users, SAMPLE_RATE_HZ, left_out_user)
        return joined, signals, f"user {left_out_user} left out, one sequence per user"
    if fold is None:
        return dict(videos), recordings.signals, "official split"
    train_users = sorted({users[key] for key, video in videos.items() if video.subset == "train"})
    _, held = split_users(train_users, fold, num_folds)
    chosen = {
        key: replace(video, subset="test" if users[key] in held else "train")
        for key, video in videos.items()
        if video.subset == "train"
    }
    return chosen, recordings.signals, f"fold {fold} of {num_folds} among the training users"


def open_hapt(
    data_root: str | Path,
    *,
    samples_per_step: int = 12,
    fold: int | None = None,
    num_folds: int = 5,
    left_out_user: int | None = None,
    num_channels: int = NUM_CHANNELS,
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
    store = bundle.train.store
    assert isinstance(store, InMemoryFeatureStore)
    layout = FeatureManifest(
        "hapt, raw samples", bundle.feature_dim, samples_per_step, samples_per_step, SAMPLE_RATE_HZ
    )
    root = Path(data_root)
    return DataSource("hapt", bundle.annotations, bundle.train.videos, bundle.test.videos, store, layout, root, (root,))
