# SPDX-License-Identifier: Apache-2.0
"""Reading the evaluators' golden files as the tables the library takes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tests.shared import GOLDEN, golden_arrays


def load(name: str) -> dict[str, Any]:
    return golden_arrays(f"eval_{name}")


def ground_truth(golden: dict[str, Any], label: str = "labels") -> dict[str, Any]:
    return {
        "video": golden["video_ids"][golden["gt_video"]],
        "segments": golden["gt_segments"],
        "labels": golden[f"gt_{label}"],
    }


def predictions(golden: dict[str, Any], label: str = "labels") -> dict[str, Any]:
    return {
        "video": golden["video_ids"][golden["pred_video"]],
        "segments": golden["pred_segments"],
        "labels": golden[f"pred_{label}"],
        "scores": golden["pred_scores"],
    }


def action_labels(golden: dict[str, Any]) -> dict[str, Any]:
    """Add to the golden columns the column ``action`` = verb * number of nouns + noun."""
    nouns = int(golden["num_nouns"])
    return golden | {
        f"{side}_action": golden[f"{side}_verb"].astype(np.int64) * nouns + golden[f"{side}_noun"]
        for side in ("gt", "pred")
    }


def convention_cases() -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = json.loads((GOLDEN / "eval_conventions.json").read_text())
    return cases


def case_tables(case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    gt, pred = case["gt"], case["pred"]
    annotations = {
        "video": [row[0] for row in gt],
        "segments": [row[1:3] for row in gt],
        "labels": [row[3] for row in gt],
    }
    detections = {
        "video": [row[0] for row in pred],
        "segments": [row[1:3] for row in pred],
        "labels": [row[3] for row in pred],
        "scores": [float("nan") if row[4] is None else row[4] for row in pred],
    }
    return annotations, detections
