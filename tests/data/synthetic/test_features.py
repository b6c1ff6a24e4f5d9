# SPDX-License-Identifier: Apache-2.0
"""Generated features: what is planted is there, and loading is lazy, repeatable and bounded in memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.features.store import FeatureStore
from asl_fast.data.synthetic.features import SyntheticFeatureStore
from asl_fast.data.synthetic.profiles import MULTITHUMOS, PROFILES
from asl_fast.data.synthetic.sensitivities import BOUNDARY_CENTERS, CLASS_CENTER_LIMIT, directions, plant
from asl_fast.data.synthetic.twin import make_twin, planted_sensitivities
from tests.data.synthetic.matched_filter import average_map, latent


def _store(bundle: DatasetBundle) -> SyntheticFeatureStore:
    assert isinstance(bundle.train.store, SyntheticFeatureStore)
    return bundle.train.store


@pytest.fixture(scope="module")
def smoke() -> DatasetBundle:
    return make_twin("multithumos", scale="smoke")


def test_features_have_the_length_width_and_type_promised(smoke: DatasetBundle) -> None:
    store = _store(smoke)
    assert isinstance(store, FeatureStore) and store.dim == smoke.feature_dim == 128
    for video in smoke.test.videos:
        features = store.load(video.id)
        assert features.shape == (store.length(video.id), 128) and features.dtype == np.float32
        assert np.isfinite(features).all() and features.flags["C_CONTIGUOUS"]
    # One window of 16 frames every 4.
    video = smoke.test.videos[0]
    assert video.fps is not None
    assert store.length(video.id) == int((video.duration_sec * video.fps - 16) // 4) + 1


def test_order_cache_and_instance_of_the_store_do_not_change_features(smoke: DatasetBundle) -> None:
    ids = [video.id for video in smoke.train.videos[:4]]
    reference = {video_id: _store(smoke).load(video_id) for video_id in ids}
    again = _store(make_twin("multithumos", scale="smoke", cache_bytes=0))
    for video_id in reversed(ids):
        np.testing.assert_array_equal(again.load(video_id), reference[video_id])
        np.testing.assert_array_equal(again.load(video_id), reference[video_id])
    other = _store(make_twin("multithumos", scale="smoke", seed=1))
    assert other.length(ids[0]) and not np.array_equal(other.load(ids[0])[:10], reference[ids[0]][:10])


def test_the_cache_keeps_the_most_recently_used_within_its_bound() -> None:
    bundle = make_twin("multithumos", scale="smoke", cache_bytes=500_000)
    store = _store(bundle)
    first, *rest = [video.id for video in bundle.train.videos[:6]]
    kept = store.load(first)
    for video_id in rest:
        store.load(video_id)
        assert store.load(first) is kept
        assert store.cached_bytes <= 500_000
    with pytest.raises(ValueError, match="read-only"):
        kept[0, 0] = 1.0


def test_a_full_twin_holds_no_features_until_they_are_asked_for() -> None:
    tracemalloc.start()
    bundle = make_twin("thumos14", scale=1.0, cache_bytes=64 * 2**20)
    store = _store(bundle)
    made = tracemalloc.get_traced_memory()[0]
    assert sum(store.length(video.id) for video in bundle.train.videos) * store.dim * 4 > 2 * 2**30
    assert made < 10 * 2**20
    shortest = sorted(bundle.train.videos, key=lambda video: video.duration_sec)[:12]
    for video in shortest:
        assert store.load(video.id).shape[1] == 2048
    assert store.cached_bytes <= 64 * 2**20 and tracemalloc.get_traced_memory()[0] < 90 * 2**20
    tracemalloc.stop()


def test_an_unknown_video_is_named() -> None:
    store = _store(make_twin("thumos14", scale="smoke"))
    assert "nobody" not in store and store.profile.name == "thumos14"
    with pytest.raises(KeyError, match="nobody"):
        store.load("nobody")


def test_planted_values_lie_in_their_ranges_and_do_not_depend_on_scale() -> None:
    for name, profile in PROFILES.items():
        planted = plant(profile, 0)
        assert planted.mu.shape == planted.sigma.shape == (profile.num_classes, 3)
        assert (np.abs(planted.mu[:, 0]) <= CLASS_CENTER_LIMIT).all()
        low, high = BOUNDARY_CENTERS
        assert ((-planted.mu[:, 1] >= low) & (-planted.mu[:, 1] <= high)).all()
        assert ((planted.mu[:, 2] >= low) & (planted.mu[:, 2] <= high)).all()
        assert (planted.sigma >= 0.1).all() and (planted.sigma <= 0.5).all()
        # Spread over the whole range: a constant would not correlate with it.
        assert planted.mu[:, 0].std() > 0.18 and abs(planted.mu[:, 0].mean()) < 0.05, name
        assert (planted.partner != np.arange(profile.num_classes)).all()
    small, large = (planted_sensitivities(make_twin("charades", scale=scale)) for scale in ("smoke", 0.002))
    np.testing.assert_array_equal(small["mu"], large["mu"])


def test_confusable_classes_share_part_of_their_direction_and_others_do_not() -> None:
    planted = plant(MULTITHUMOS, 0)
    rows = directions(MULTITHUMOS, planted, 0)
    np.testing.assert_allclose(np.linalg.norm(rows.rows, axis=1), 1.0, atol=1e-6)
    classes = rows.rows[: MULTITHUMOS.num_classes]
    cosine = classes @ classes.T
    pairs = cosine[np.arange(65), planted.partner]
    assert pairs.min() > 0.05 and 0.3 < pairs.mean() < 0.5
    apart = cosine[rows.group[:, None] != rows.group[None]]
    assert abs(apart.mean()) < 0.02 and apart.std() < 0.12
    kinds = {
        rows.of_class(64),
        rows.of_body(64),
        rows.of_boundary(64, 0),
        rows.of_boundary(64, 1),
        rows.of_distractor(7),
    }
    assert len(kinds) == 5 and max(kinds) == len(rows.rows) - 1


def _profile_of(
    bundle: DatasetBundle, column: int, label: int, places: NDArray[np.float64], *, clean: bool
) -> NDArray[np.float64]:
    """Mean evidence at signed distances ``places`` over the longer instances of a class, before or after noise."""
    store = _store(bundle)
    total, count = np.zeros(len(places)), 0
    for video in bundle.train.videos:
        grid = store.manifest.extracted_grid(video, 1)
        chosen = video.segments_sec[(video.labels == label) & (np.diff(video.segments_sec)[:, 0] > 12 * grid.step_sec)]
        if not len(chosen):
            continue
        row = label if column == 0 else store.directions.of_boundary(label, column - 1)
        noisy = None if clean else latent(store, video) @ store.directions.rows[row]
        signal = store.evidence(video.id)[:, row] if noisy is None else noisy
        for start, stop in grid.to_grid(chosen).tolist():
            at = (start + stop) / 2 + places * (stop - start)
            total += np.interp(at, np.arange(len(signal)), signal)
            count += 1
    return total / max(count, 1)


def test_evidence_peaks_where_it_was_planted() -> None:
    bundle = make_twin("thumos14", scale="reduced", feature_dim=96)
    planted = planted_sensitivities(bundle)
    places = np.linspace(-0.5, 0.5, 41)
    found: dict[int, list[float]] = {0: [], 1: [], 2: []}
    truth: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for label in range(bundle.num_classes):
        for column in range(3):
            profile = _profile_of(bundle, column, label, places, clean=True)
            found[column].append(places[np.argmax(profile)])
            truth[column].append(planted["mu"][label, column])
    # A window of four steps blurs what lies within it of the boundary; other instances of the pair add their own.
    error = np.abs(np.array(found[0]) - truth[0])
    assert np.median(error) < 0.03 and np.corrcoef(found[0], truth[0])[0, 1] > 0.95
    for column in (1, 2):
        assert np.median(np.abs(np.array(found[column]) - truth[column])) < 0.08


def test_evidence_peaks_are_visible_in_the_features_themselves() -> None:
    bundle = make_twin("thumos14", scale="reduced", feature_dim=128)
    planted = planted_sensitivities(bundle)
    places = np.linspace(-0.45, 0.45, 31)
    peaks = [
        places[np.argmax(_profile_of(bundle, 0, label, places, clean=False))] for label in range(bundle.num_classes)
    ]
    assert np.corrcoef(peaks, planted["mu"][:, 0])[0, 1] > 0.8


def test_labels_and_features_alone_reveal_the_planted_centres(smoke: DatasetBundle) -> None:
    """Ridge regression from single frames to "inside class c", told nothing planted: its answer peaks at mu."""
    store, classes = _store(smoke), smoke.num_classes
    gram, moment, videos = 10.0 * np.eye(129), np.zeros((129, classes)), []
    for video in smoke.train.videos:
        frames = np.pad(store.load(video.id).astype(np.float64), ((0, 0), (0, 1)), constant_values=1.0)
        segments = store.manifest.extracted_grid(video, len(frames)).to_grid(video.segments_sec)
        inside = np.zeros((len(frames), classes))
        for (start, stop), label in zip(segments.tolist(), video.labels.tolist(), strict=True):
            inside[max(int(np.ceil(start)), 0) : max(int(np.floor(stop)) + 1, 0), label] = 1.0
        gram += frames.T @ frames
        moment += frames.T @ inside
        videos.append((frames, segments, video.labels))
    weights = np.linalg.solve(gram, moment)
    places, total = np.linspace(-0.5, 0.5, 41), np.zeros((classes, 41))
    for frames, segments, labels in videos:
        answer, time = frames @ weights, np.arange(len(frames))
        for (start, stop), label in zip(segments.tolist(), labels.tolist(), strict=True):
            if stop - start >= 4:
                total[label] += np.interp((start + stop) / 2 + places * (stop - start), time, answer[:, label])
    active = np.flatnonzero(total.any(axis=1))
    peaks = places[total[active].argmax(axis=1)]
    assert len(active) == 12 and np.corrcoef(peaks, planted_sensitivities(smoke)["mu"][active, 0])[0, 1] > 0.9


@pytest.mark.parametrize(
    ("name", "tiou", "low", "high"),
    [
        ("multithumos", tuple(np.arange(0.1, 0.95, 0.1)), 0.15, 0.6),
        ("thumos14", (0.3, 0.4, 0.5, 0.6, 0.7), 0.25, 0.75),
    ],
)
def test_a_matched_filter_detects_but_does_not_solve_the_twin(
    name: str, tiou: tuple[float, ...], low: float, high: float
) -> None:
    bundle = make_twin(name, scale="smoke")
    assert low < average_map(_store(bundle), bundle.test.videos, tiou) < high
