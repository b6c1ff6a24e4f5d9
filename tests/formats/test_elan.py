# SPDX-License-Identifier: Apache-2.0
"""ELAN documents, read by pympi."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from asl_fast.formats.recording import Action, Recording, milliseconds
from asl_fast.formats.to_elan import render
from tests.formats.odd import ORIGIN, PLAIN, RECORDINGS


@pytest.mark.parametrize("recording", RECORDINGS, ids=["odd", "empty", "one"])
def test_pympi_reads_every_annotation(tmp_path: Path, recording: Recording) -> None:
    elan = pytest.importorskip("pympi.Elan", reason="needs pympi-ling, of the extra dev")
    path = tmp_path / "found.eaf"
    path.write_text(render(recording, ORIGIN), encoding="utf-8")
    document = elan.Eaf(str(path))
    found = sorted(
        (start, end, float(value))
        for name in document.get_tier_names()
        for start, end, value, *_ in document.get_annotation_data_for_tier(name)
    )
    expected = sorted((*milliseconds(each), round(each.score, 4)) for each in recording.actions)
    assert found == expected
    for name in document.get_tier_names():
        spans = sorted(span[:2] for span in document.get_annotation_data_for_tier(name))
        assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_overlapping_actions_of_a_class_get_tiers_of_their_own() -> None:
    tiers = [tier.get("TIER_ID") for tier in ElementTree.fromstring(render(RECORDINGS[0], ORIGIN)).iter("TIER")]
    assert len(set(tiers)) == len(tiers)
    # A class is itself called "pour water (2)".
    assert [name for name in tiers if name.startswith(PLAIN)] == [PLAIN, f"{PLAIN} (3)", f"{PLAIN} (2)"]
    assert "two lines" in tiers and "bell\ufffd and \ufffd[31m" in tiers


def test_many_at_once(tmp_path: Path) -> None:
    actions = tuple(Action(0.0, 1.0 + i, "run", 0.5) for i in range(50))
    document = ElementTree.fromstring(render(Recording("a", 100.0, 25.0, actions), ORIGIN))
    assert len(document.findall("TIER")) == 50
    assert len(document.findall("TIME_ORDER/TIME_SLOT")) == 51
