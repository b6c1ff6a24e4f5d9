# SPDX-License-Identifier: Apache-2.0
"""Tasks of Label Studio with the detections as predictions on a video's timeline, and the project's configuration.

Import the JSON into a project whose labeling interface is the XML. ``data.video`` is the recording's name: put the
address in its place under which Label Studio finds the video.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from xml.etree import ElementTree

from asl_fast.formats.recording import Action, Origin, Recording
from asl_fast.formats.text import encodable, xml_text

_CONTROL, _OBJECT = "actions", "video"
# Features that are counted in seconds say nothing about the video's frames: at 1 frame per second the timeline would be
# too coarse. Label Studio takes any rate that the task and the timeline agree on.
_LEAST_RATE, _USUAL_RATE = 10.0, 25.0


def render(recordings: Sequence[Recording], origin: Origin) -> str:
    """Write one task for each recording.

    Times are frames, counted from 1, the last one included; ``data.fps`` says how many there are in a second: the
    recording's rate, or 25 where that is below 10.
    """
    tasks = [
        {
            "data": {
                _OBJECT: encodable(each.name),
                "fps": _rate(each),
                "duration_sec": each.duration_sec,
            },
            "predictions": [
                {
                    "model_version": encodable(origin.detector),
                    "score": max((action.score for action in each.actions), default=0.0),
                    "result": [_region(number, action, each) for number, action in enumerate(each.actions, start=1)],
                }
            ],
        }
        for each in recordings
    ]
    return json.dumps(tasks, allow_nan=False) + "\n"


def render_config(recordings: Sequence[Recording], origin: Origin) -> str:
    """Write the labeling interface: the video with its frame rate, and a timeline that takes every class."""
    view = ElementTree.Element("View")
    labels = ElementTree.SubElement(view, "TimelineLabels", name=_CONTROL, toName=_OBJECT)
    for name in origin.class_names:
        ElementTree.SubElement(labels, "Label", value=_label(name))
    ElementTree.SubElement(view, "Video", name=_OBJECT, value=f"${_OBJECT}", frameRate="$fps")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def frames(action: Action, recording: Recording) -> tuple[int, int]:
    """Return the first and the last frame of an action, counted from 1; at least one, and none behind the end."""
    rate = _rate(recording)
    last = max(1, math.ceil(recording.duration_sec * rate - 1e-6))
    start = min(max(1, math.floor(action.start_sec * rate + 1e-6) + 1), last)
    return start, max(start, min(math.ceil(action.end_sec * rate - 1e-6), last))


def _rate(recording: Recording) -> float:
    return recording.fps if recording.fps >= _LEAST_RATE else _USUAL_RATE


def _region(number: int, action: Action, recording: Recording) -> dict[str, object]:
    start, end = frames(action, recording)
    return {
        "id": str(number),
        "from_name": _CONTROL,
        "to_name": _OBJECT,
        "type": "timelinelabels",
        "score": action.score,
        "value": {"ranges": [{"start": start, "end": end}], "timelinelabels": [_label(action.label)]},
    }


def _label(name: str) -> str:
    # The same in both files, or Label Studio would not know its own label.
    return xml_text(encodable(name))
