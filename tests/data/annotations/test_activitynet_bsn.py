# SPDX-License-Identifier: Apache-2.0
"""ActivityNet 1.3 in BSN's files: the same as the official ones, and every kind of broken one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.annotations.activitynet import read_activitynet_json
from asl_fast.data.annotations.activitynet_bsn import official_id, read_activitynet13_bsn
from asl_fast.data.annotations.video import Annotations
from tests.shared import shared_file


@pytest.fixture(scope="module")
def official() -> Annotations:
    return read_activitynet_json(shared_file("data/annotations/activitynet13_19228.json"), strict=True)


def test_bsn_files_agree(official: Annotations) -> None:
    folder = "data/annotations/"
    found = read_activitynet13_bsn(
        shared_file(folder + "anet_anno_action.json"),
        shared_file(folder + "anet_video_info_new.csv"),
        shared_file(folder + "anet_action_name.csv"),
        strict=True,
    )
    # The class list is not in alphabetical order, so the ids differ and the names agree.
    assert found.class_names[:2] == ("Applying sunscreen", "Arm wrestling")
    assert found.class_names != official.class_names and set(found.class_names) == set(official.class_names)
    to_official = np.array([official.class_names.index(name) for name in found.class_names])
    assert found.videos.keys() == official.videos.keys()
    pairs = [(video, official.videos[key]) for key, video in found.videos.items()]
    assert all((a.subset, a.duration_sec, len(a.labels)) == (b.subset, b.duration_sec, len(b.labels)) for a, b in pairs)
    segments = [np.concatenate([pair[side].segments_sec for pair in pairs]) for side in (0, 1)]
    np.testing.assert_array_equal(segments[0], segments[1])
    labels = [np.concatenate([pair[side].labels for pair in pairs]) for side in (0, 1)]
    np.testing.assert_array_equal(to_official[labels[0]], labels[1])


def test_prefix_that_belongs_to_the_id(official: Annotations) -> None:
    assert official_id("v_---9CpRcKoU") == "---9CpRcKoU"
    # Two ids begin with v_ themselves.
    assert official_id("v_UmAH95xls") == "v_UmAH95xls" and "v_UmAH95xls" in official.videos
    assert official_id("v_v_UmAH95xls") == "v_UmAH95xls"


def test_bsn_problems(tmp_path: Path) -> None:
    good = {"duration_second": 9.0, "annotations": [{"segment": [1.0, 2.0], "label": "jump"}]}
    (tmp_path / "info.csv").write_text("video,fps,subset\nv_12345678901,30,training\nv_12345678902,30,training\n")
    for change, message in (
        ({"duration_second": None}, "'duration_second': expected a number"),
        ({"annotations": [{"segment": [1.0], "label": "jump"}]}, "'segment' must be"),
        ({"annotations": [{"segment": [1.0, 2.0], "label": "fly"}]}, "unknown class 'fly'"),
    ):
        (tmp_path / "classes.csv").write_text("action\njump\n")
        (tmp_path / "a.json").write_text(json.dumps({"v_12345678901": good | change, "v_12345678902": good}))
        files = (tmp_path / "a.json", tmp_path / "info.csv", tmp_path / "classes.csv")
        assert list(read_activitynet13_bsn(*files).videos) == ["12345678902"]
        with pytest.raises(ValueError, match=rf"v_12345678901.*{message}"):
            read_activitynet13_bsn(*files, strict=True)
    (tmp_path / "a.json").write_text(json.dumps({"v_12345678903": good}))
    with pytest.raises(ValueError, match=r"not in .*info\.csv"):
        read_activitynet13_bsn(tmp_path / "a.json", tmp_path / "info.csv", strict=True)
    with pytest.raises(ValueError, match="no usable video"):
        read_activitynet13_bsn(tmp_path / "a.json", tmp_path / "info.csv")
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ValueError, match=r"a\.json: expected"):
        read_activitynet13_bsn(tmp_path / "a.json", tmp_path / "info.csv")
