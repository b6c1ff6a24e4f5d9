# SPDX-License-Identifier: Apache-2.0
"""An ablation on a gesture track: its Jaccard index on drawn recordings against recordings copied for real."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asl_fast.evaluation.activitynet_json import SegmentFile
from asl_fast.evaluation.columns import read_columns
from asl_fast.evaluation.conventions import DEFAULT
from asl_fast.evaluation.protocols import PROTOCOLS
from asl_fast.evaluation.spotting import Spotting, spot
from benchmarks.ablation_scores import JACCARD, spotting_scores
from benchmarks.resampling import draw_recordings
from tests.test_benchmarks_resampling import Table, copied, scene


def spotted(truth: Table, found: Table) -> Spotting:
    rule = PROTOCOLS["shrec22"].measures[2].spotting
    assert rule is not None
    sides = read_columns(truth, "ground_truth", DEFAULT), read_columns(found, "predictions", DEFAULT)
    return spot(*sides, rule, score_threshold=0.3)


def test_jaccard_of_draws_is_that_of_copied_recordings() -> None:
    rng = np.random.default_rng(0)
    truth, found, names = scene(rng, recordings=12, classes=3)
    once = spotted(truth, found)
    measures = {"mAP": {"average_map": 0.5}, "spotting": once.as_dict()}
    weights = np.concatenate([np.ones((1, len(names)), dtype=np.int64), draw_recordings(len(names), 20, rng)])
    files = (SegmentFile(Path("x"), table, names, {}, {}) for table in (truth, found))
    scores, drawn = spotting_scores(measures, *files, names, weights)
    assert scores[JACCARD] == once.jaccard and drawn[JACCARD][0] == once.jaccard > 0
    for value, times in zip(drawn[JACCARD], weights, strict=True):
        np.testing.assert_allclose(value, spotted(copied(truth, names, times), copied(found, names, times)).jaccard)


def test_other_data_sets_have_none() -> None:
    nothing = SegmentFile(Path("x"), {}, (), {}, {})
    assert spotting_scores({"mAP": {"average_map": 0.5}}, nothing, nothing, (), np.ones((1, 0), np.int64)) == ({}, {})
