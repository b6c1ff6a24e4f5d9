# SPDX-License-Identifier: Apache-2.0
"""A table with a line for each detection, for pandas, spreadsheets and ``evaluate``, which reads it back."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from asl_fast.formats.recording import Origin, Recording
from asl_fast.formats.text import encodable
from asl_fast.wording import escape_formula

COLUMNS = ("video", "start_sec", "end_sec", "label", "score")


def render(recordings: Sequence[Recording], origin: Origin) -> str:
    """Write the table: recordings in their order, the detections of each by falling score, numbers to the last digit.

    A name that a spreadsheet would take for a formula gets an apostrophe in front, see
    `asl_fast.wording.escape_formula`.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for recording in recordings:
        name = escape_formula(encodable(recording.name))
        for start, end, label, score in recording.actions:
            table.writerow((name, start, end, escape_formula(encodable(label)), score))
    return text.getvalue()
