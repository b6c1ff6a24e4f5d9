# SPDX-License-Identifier: Apache-2.0
"""The frame rate of each recording: a wrong one puts every detection at a wrong time, by that factor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.files import read_named_numbers
from asl_fast.wording import examples

Rates = float | Mapping[str, float]
_FAR = 5.0
"""So many times as fast or as slow as any recording of training is more likely a slip than another camera."""
_USUAL = (10.0, 12.0, 12.5, 15.0, 20.0, 24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 90.0, 100.0, 120.0)


def read_rates(text: str) -> Rates:
    """Read what ``--fps`` names: a number, or a file of rates by name, JSON or CSV.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: Naming the file and entry, when it is neither or a rate is not positive.
    """
    if Path(text).suffix.lower() in (".json", ".csv", ".tsv"):
        return read_named_numbers(text, "frames per second")
    try:
        rate = float(text)
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError
        return rate
    except ValueError:
        raise ValueError(f"--fps {text}: give frames per second, above 0, or a .json or .csv file of them") from None


def known_rates(names: Iterable[str], dataset: Mapping[str, Any], given: Rates | None) -> dict[str, float]:
    """Frame rate by recording, where it is known: as given, as in the run's annotations, or the one of all training.

    Args:
        names: Names of the recordings.
        dataset: What the run knows of its data set.
        given: One rate for all, or rates by name, which go before what the run knows.
    """
    if given is not None and not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    trained: Mapping[str, float] = dataset.get("frame_rates") or {}
    found = set(trained.values()) or {dataset["grid"]["fps"]}
    common = found.pop() if len(found) == 1 else None
    rates = {name: (given or {}).get(name, trained.get(name, common)) for name in names}
    return {name: rate for name, rate in rates.items() if rate is not None}


def check_rates(
    names: Iterable[str], rates: Mapping[str, float], dataset: Mapping[str, Any], measured: Iterable[str]
) -> None:
    """Refuse recordings whose rate cannot be known.

    Args:
        names: Names of the recordings.
        rates: As :func:`known_rates` found them.
        dataset: What the run knows of its data set.
        measured: Names whose length is given, from which the rate follows.

    Raises:
        ValueError: Naming recordings without a rate, of which training had several.
    """
    known = {*rates, *measured}
    if unknown := [name for name in names if name not in known]:
        found = sorted(set(dataset["frame_rates"].values()))
        raise ValueError(
            f"frame rate of {examples(unknown)} is not known: those of training differ, "
            f"{examples([f'{rate:g}' for rate in found], 6)} a second; give --fps NUMBER, --fps FILE.json "
            '({"name": frames per second}) or --durations FILE.json'
        )


def far_rate(given: Rates, dataset: Mapping[str, Any]) -> str | None:
    """Name a given rate that is far from those of training, in words; None where there is none."""
    trained = set((dataset.get("frame_rates") or {}).values()) or {dataset["grid"]["fps"]}
    slowest, fastest = min(trained), max(trained)
    for name, rate in given.items() if isinstance(given, Mapping) else [("", given)]:
        if slowest / _FAR <= rate <= fastest * _FAR:
            continue
        nearest, direction = (fastest, "shorter") if rate > fastest else (slowest, "longer")
        factor = max(rate / nearest, nearest / rate)
        of = f" of {name}" if name else ""
        return (
            f"--fps{of} is {rate:g}, but recordings of training had {nearest:g} frames per second: times come out "
            f"{factor:,.0f} times {direction} than there; is it meant?"
        )
    return None


def measured_rate(steps: int, duration_sec: float, manifest: FeatureManifest) -> float:
    """Frames per second of a recording of known length: a usual rate where one gives this many feature vectors."""
    assert manifest.stride_frame is not None
    stride = manifest.stride_frame
    covered = (steps - 1) * stride + (manifest.window_frame or stride)
    # Rounding down leaves less than one stride of the recording uncovered.
    usual = [rate for rate in _USUAL if covered - 1 <= rate * duration_sec < covered + stride + 1]
    return usual[0] if len(usual) == 1 else (covered + stride / 2) / duration_sec
