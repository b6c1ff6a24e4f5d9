# SPDX-License-Identifier: Apache-2.0
"""What differs between the names of features and of videos is named."""

from __future__ import annotations

import pytest

from asl_fast.data.features.affix import common_prefix, near_names


@pytest.mark.parametrize(
    ("videos", "names", "prefix", "found", "fix"),
    [
        (["a1", "a2"], ["v_a1", "v_a2"], "", "begin with 'v_'", '"prefix": "v_"'),
        (["a1", "a2"], ["a1", "a2"], "v_", "looked for 'v_a1', found names like 'a1'; names there have no", 'ix": ""'),
        (["v_a1", "v_a2"], ["a1", "a2"], "", "annotations begin with 'v_'", "rename the files to v_NAME"),
        (["a1.mp4"], ["a1"], "", "annotations end in '.mp4'", "remove '.mp4' from the videos"),
        (["a1"], ["a1_rgb"], "", "file names end in '_rgb'", "remove '_rgb' from the file names"),
        (["video_1"], ["vide0_1", "other"], "", "the nearest is 'vide0_1'", "must be the same"),
        (["abc"], ["xyz"], "", "looked for 'abc', found names like 'xyz'", "must be the same"),
        (["abc"], [], "", "there are none", "name the folder"),
    ],
)
def test_hints(videos: list[str], names: list[str], prefix: str, found: str, fix: str) -> None:
    hint = near_names(videos, names, prefix)
    assert found in hint.found
    assert fix in hint.fix


def test_the_prefix_of_most() -> None:
    assert common_prefix(["a", "b", "c"], ["v_a", "v_b", "c"]) == "v_"
    assert common_prefix(["a", "b"], ["a", "b", "x_q"]) == ""
    assert common_prefix(["a"], ["q"]) is None
