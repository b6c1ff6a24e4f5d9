# SPDX-License-Identifier: Apache-2.0
"""Labels of FiftyOne's ``FiftyOneTemporalDetectionDataset``, which belong beside a folder of videos.

``fiftyone.Dataset.from_dir(dataset_type=fiftyone.types.FiftyOneTemporalDetectionDataset, data_path="videos/",
labels_path="detections.fiftyone.json")`` puts them together: by the names of the video files without their endings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from asl_fast.formats.recording import Origin, Recording


def render(recordings: Sequence[Recording], origin: Origin) -> str:
    """Write the classes, and for each recording its detections: class number, times in seconds, confidence."""
    numbers = {name: number for number, name in enumerate(origin.class_names)}
    labels = {
        each.name: [
            {"label": numbers[label], "timestamps": [start, end], "confidence": score}
            for start, end, label, score in each.actions
        ]
        for each in recordings
    }
    return json.dumps({"classes": list(origin.class_names), "labels": labels}, allow_nan=False) + "\n"
