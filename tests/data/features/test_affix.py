# SPDX-License-Identifier: Apache-2.0
"""What differs between the names of features and of videos is found out, or named."""

from __future__ import annotations

import pytest

from asl_fast.data.features.affix import Affixes, common_affixes, near_names, several_streams


@pytest.mark.parametrize(
    ("videos", "names", "expected", "found", "fix"),
    [
        (["a1", "a2"], ["v_a1", "v_a2"], ("", ""), "names there are 'v_' + video", '--feature-prefix="v_"'),
        (["a1", "a2"], ["a1", "a2"], ("v_", ""), "looked for 'v_a1', found names like 'a1'", '--feature-prefix=""'),
        (["a1", "a2"], ["a1_rgb", "a2_rgb"], ("", ""), "names there are video + '_rgb'", '--feature-suffix="_rgb"'),
        (["v_a1", "v_a2"], ["a1", "a2"], ("", ""), "annotations begin with 'v_'", "rename the files to v_NAME"),
        (["a1.mp4"], ["a1"], ("", ""), "annotations end in '.mp4'", "remove '.mp4' from the videos"),
        (["video_1"], ["vide0_1", "other"], ("", ""), "the nearest is 'vide0_1'", "must be the same"),
        (["abc"], ["xyz"], ("", ""), "looked for 'abc', found names like 'xyz'", "must be the same"),
        (["abc"], [], ("", ""), "there are none", "name the folder"),
    ],
)
def test_hints(videos: list[str], names: list[str], expected: tuple[str, str], found: str, fix: str) -> None:
    hint = near_names(videos, names, Affixes(*expected))
    assert found in hint.found
    assert fix in hint.fix


@pytest.mark.parametrize(
    ("videos", "names", "expected"),
    [
        (["a", "b", "c"], ["v_a", "v_b", "c"], [("v_", "")]),
        (["a", "b"], ["a", "b", "x_q"], [("", "")]),
        (["a"], ["q"], []),
        (["clip1", "clip10"], ["clip1_feat", "clip10_feat"], [("", "_feat")]),
        (["1", "2", "10"], ["v_1-rgb", "v_2-rgb", "v_10-rgb"], [("v_", "-rgb")]),
        (
            ["c1", "c2", "c3"],
            ["c1-rgb", "c1-flow", "c2-rgb", "c2-flow", "c3-rgb", "c3-flow"],
            [("", "-flow"), ("", "-rgb")],
        ),
        (["c1", "c2"], ["rgb/c1", "flow/c1", "rgb/c2", "flow/c2"], [("flow/", ""), ("rgb/", "")]),
        (["c1", "c2"], ["c1", "c2", "c1_flow", "c2_flow"], [("", "")]),
    ],
)
def test_text_around_most_names(videos: list[str], names: list[str], expected: list[tuple[str, str]]) -> None:
    assert list(common_affixes(videos, names)) == expected


def test_streams_are_named_with_the_option_that_takes_them() -> None:
    words = several_streams((Affixes("", "-flow"), Affixes("", "-rgb")), "f")
    assert words == (
        "f: each video has several, named video + '-flow' and video + '-rgb': choose with --feature-suffix=-flow, or "
        "put them side by side, in this order of channels, with --feature-suffix=-flow+-rgb"
    )
