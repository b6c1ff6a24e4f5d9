# SPDX-License-Identifier: Apache-2.0
"""Files of the cases that are odd in one thing; each is written where a command names it."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def _found(**changes: Any) -> str:
    """Write detections in a and b, of which that in a is changed."""
    first = {"segment": [0, 10], "label": "run", "score": 0.9} | changes
    second = {"segment": [5, 9], "label": "run", "score": 0.7}
    return json.dumps({"results": {"a": [{k: v for k, v in first.items() if v is not ...}], "b": [second]}})


def _annotated(**changes: Any) -> str:
    listed = {name: [{"segment": segment, "label": "run"}] for name, segment in (("a", [0, 10]), ("b", [5, 9]))}
    videos = {name: {"subset": "test", "duration": 100.0, "annotations": each} for name, each in listed.items()}
    return json.dumps({"database": videos | {"a": videos["a"] | changes}})


def _table(separator: str, first: str = "a,0,10,run,0.9", header: str = "video,start,end,label,score") -> str:
    return "\n".join([header, first, "b,5,9,run,0.7"]).replace(",", separator)


BOMB = "\n".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
CONTENT: Mapping[str, str | bytes] = {
    "empty.json": "",
    "zeros.json": bytes(64),
    "list.json": "[]",
    "null.json": "null",
    "nothing.json": "{}",
    "score-nan.json": _found(score=math.nan),
    "score-text.json": _found(score="0.9"),
    "score-none.json": _found(score=...),
    "label-true.json": _found(label=True),
    "label-list.json": _found(label=["run"]),
    "label-blank.json": _found(label=" run"),
    "label-upper.json": json.dumps({"results": {"a": [{"segment": [0, 10], "label": "RUN", "score": 1}]}}),
    "segment-three.json": _found(segment=[0, 5, 10]),
    "segment-nested.json": _found(segment=[[0], [10]]),
    "segment-true.json": _found(segment=[False, True]),
    "segment-text.json": _found(segment=["0", "10"]),
    "segment-clock.json": _found(segment=["0:00", "0:10"]),
    "segment-huge.json": _found(segment=[0, 1e300]),
    "duration-nan.json": _annotated(duration=math.nan),
    "duration-zero.json": _annotated(duration=0),
    "fps-words.json": _annotated(fps="25 fps"),
    "cut.json.gz": gzip.compress(_found().encode())[:-12],
    "mark.json": b"\xef\xbb\xbf" + _found().encode(),
    "wide.json": _found().encode("utf-16"),
    "semicolons.csv": _table(";", "a,0,10,run,0.9"),
    "windows.csv": _table(",").replace("\n", "\r\n").encode(),
    "zero-byte.csv": _table(",", "a,0\0,10,run,0.9"),
    "open-quote.csv": _table(",", '"a,0,10,run,0.9'),
    "two-ends.csv": "video,start,end,end,label,score\na,0,10,11,run,0.9\n",
    "merged-cells.csv": "video,start,end,label\nv00,0,1,run\n,2,3,run\n",
    "action-lengths.csv": "video,start,end,duration,label\nv00,1.0,2.5,1.5,run\nv01,2.0,4.0,2.0,jump\n",
    "no-name.json": json.dumps({"database": {"": {"duration": 9, "annotations": []}}}),
    "rates-nan.json": '{"v00": NaN, "v01": 25}',
    "rates-ntsc.json": '{"v00": "30000/1001", "v01": 25}',
    "rates-zero.json": '{"v00": 0, "v01": 25}',
    "twice.csv": "video,seconds\nv00,10\nv00,20\n",
    "negative.csv": "video,seconds\nv00,-3\nv01,8\n",
    "with-unit.csv": "video,seconds\nv00,10s\nv01,8\n",
    "pairs.json": '[["v00", 3]]',
    "short.json": '{"v00": 30.0}',
    "stride-nan.json": '{"stride_frame": NaN}',
    "stride-true.json": '{"stride_frame": true}',
    "layout-other.json": '{"stride_frame": 8, "layout": "NTC"}',
    "fps-infinite.json": '{"stride_frame": 8, "fps": Infinity}',
    "width-other.json": '{"stride_frame": 8, "dim": 17}',
    "bad.yaml": "model: [1, 2\n",
    "code.yaml": "!!python/object/apply:os.system ['touch owned']\n",
    "bomb.yaml": f"a: &a [x,x,x,x,x,x,x,x,x]\n{BOMB}\n",
}


def write_named(line: str, folder: Path) -> None:
    """Write those files into a folder that a command line names; ``link.json`` leads to ``real.json`` there."""
    for name, content in CONTENT.items():
        if name in line.replace("=", " ").split():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if "link.json" in line:
        (folder / "real.json").write_text("{}")
        (folder / "link.json").symlink_to("real.json")
    if "looped" in line:
        (folder / "looped").mkdir()
        np.save(folder / "looped" / "v00.npy", np.ones((50, 16), np.float32))
        (folder / "looped" / "again").symlink_to(".")
