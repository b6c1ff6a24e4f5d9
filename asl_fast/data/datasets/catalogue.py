# SPDX-License-Identifier: Apache-2.0
"""Every data set that is known by name, and what it supports: one entry each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from asl_fast.data.datasets.benchmarks import VIDEO_BENCHMARKS
from asl_fast.wording import nearest

if TYPE_CHECKING:
    from asl_fast.data.bundle import DatasetBundle
    from asl_fast.data.source import DataSource


class Readers(NamedTuple):
    """The functions that read a data set.

    Attributes:
        load: Reads the data root into a bundle; takes ``seed``, ``strict``, and the options of the function itself.
        open: Reads the data root without checking it or dropping anything.
        recordings: Reads raw recordings, (N, channels) by name, that a detector trained on the data set can be run on;
            None where detectors take features.
    """

    load: Callable[..., DatasetBundle]
    open: Callable[..., DataSource]
    recordings: Callable[[Path], Mapping[str, NDArray[Any]]] | None = None


@dataclass(frozen=True)
class DatasetEntry:
    """What a data set is read from, and what can be done with it.

    Attributes:
        name: The name it is asked for by.
        data_root: What its data root is, in words.
        readers: Imports the functions that read it, so that names and abilities are known without torch.
        has_twin: Whether `asl_fast.data.synthetic` imitates it, so that it can be tried without its data.
        has_feature_files: Whether its features lie in files beside its annotations, which can then be named
            (``annotations``, ``features``, ``manifest``) and packed; otherwise it is read from the download as it is.
        settings: Fields of a run's data configuration that decide how it is read.
    """

    name: str
    data_root: str
    readers: Callable[[], Readers]
    has_twin: bool = True
    has_feature_files: bool = True
    settings: tuple[str, ...] = ()

    @property
    def load(self) -> Callable[..., DatasetBundle]:
        """See :class:`Readers`."""
        return self.readers().load

    @property
    def open(self) -> Callable[..., DataSource]:
        """See :class:`Readers`."""
        return self.readers().open

    @property
    def read_recordings(self) -> Callable[[Path], Mapping[str, NDArray[Any]]] | None:
        """See :class:`Readers`."""
        return self.readers().recordings

    def check_options(self, **files: object) -> dict[str, Any]:
        """Leave out options that are None.

        Args:
            files: ``annotations``, ``features`` and ``manifest`` as they were asked for.

        Raises:
            ValueError: When one is given and the data set has no such files.
        """
        given = {name: value for name, value in files.items() if value is not None}
        if given and not self.has_feature_files:
            raise ValueError(f"{self.name} is read from the download as it is and has no option {next(iter(given))}")
        return given

    def chosen_settings(self, config: object) -> dict[str, Any]:
        """Return the settings that a data configuration has a value for; the others are as the data set has them."""
        given = {name: getattr(config, name) for name in self.settings}
        return {name: value for name, value in given.items() if value is not None}


def _video_readers(name: str) -> Readers:
    from asl_fast.data.datasets.video_benchmark import load_video_benchmark, open_video_benchmark

    return Readers(partial(load_video_benchmark, name), partial(open_video_benchmark, name))


def _hapt_readers() -> Readers:
    from asl_fast.data.datasets.hapt import load_hapt, open_hapt, read_signals

    return Readers(load_hapt, open_hapt, read_signals)


def _track_readers(name: str) -> Readers:
    from asl_fast.data.datasets.shrec import SHREC21, SHREC22, load_track, open_track, read_track_signals

    track = {SHREC21.name: SHREC21, SHREC22.name: SHREC22}[name]
    return Readers(partial(load_track, track), partial(open_track, track), partial(read_track_signals, track))


def _track(name: str) -> DatasetEntry:
    return DatasetEntry(
        name,
        "the folder of its recordings and annotation files",
        partial(_track_readers, name),
        has_twin=False,
        has_feature_files=False,
        settings=("samples_per_step", "centre", "velocities", "clip_sd", "signal_rate_hz", "fold", "num_folds"),
    )


def _video(name: str) -> DatasetEntry:
    return DatasetEntry(name, "the folder of its annotations and features", partial(_video_readers, name))


DATASETS: dict[str, DatasetEntry] = {name: _video(name) for name in VIDEO_BENCHMARKS} | {
    "hapt": DatasetEntry(
        "hapt",
        "the UCI HAPT zip or its unpacked folder",
        _hapt_readers,
        has_twin=False,
        has_feature_files=False,
        settings=("samples_per_step", "fold", "num_folds", "left_out_user", "num_channels"),
    ),
    "shrec22": _track("shrec22"),
    "shrec21": _track("shrec21"),
}
"""By name, in the order in which they are listed to users."""


def get_dataset(name: str) -> DatasetEntry:
    """Find the entry of a name.

    Raises:
        ValueError: When there is none; names the nearest.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; {nearest(name, DATASETS)}")
    return DATASETS[name]


def needs_its_data(name: str) -> bool:
    """Whether this is a data set that nothing imitates; False for one's own data, whatever its name."""
    return name in DATASETS and not DATASETS[name].has_twin
