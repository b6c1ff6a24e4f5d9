# SPDX-License-Identifier: Apache-2.0
"""Each data set has one entry, and the entry tells the truth."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from asl_fast.data.datasets.catalogue import DATASETS, get_dataset, needs_its_data
from asl_fast.data.load import load_dataset, open_source
from asl_fast.data.synthetic.profiles import PROFILES
from asl_fast.training.config import DataConfig


def test_twins_are_those_that_can_be_made() -> None:
    assert [name for name, entry in DATASETS.items() if entry.has_twin] == [
        name for name in DATASETS if name in PROFILES
    ]
    assert set(PROFILES) <= set(DATASETS)
    assert [name for name in (*DATASETS, "my own") if needs_its_data(name)] == ["hapt", "shrec22", "shrec21"]


@pytest.mark.parametrize("name", DATASETS)
def test_settings_and_options_exist(name: str) -> None:
    entry = DATASETS[name]
    assert entry.name == name
    assert set(entry.settings) <= {field.name for field in fields(DataConfig)}
    files = {"annotations", "features", "manifest"}
    for function in (entry.load, entry.open):
        parameters = set(inspect.signature(function).parameters)
        assert set(entry.settings) <= parameters
        assert (files <= parameters) == entry.has_feature_files
    assert {"seed", "strict"} <= set(inspect.signature(entry.load).parameters)


def test_settings_without_a_value_are_the_data_sets_own() -> None:
    settings = DATASETS["hapt"].chosen_settings(DataConfig(fold=1))
    assert settings["fold"] == 1 and "samples_per_step" not in settings
    assert DATASETS["shrec22"].chosen_settings(DataConfig(samples_per_step=2))["samples_per_step"] == 2
    assert DATASETS["thumos14"].chosen_settings(DataConfig()) == {}


def test_what_a_data_set_does_not_support_is_refused(tmp_path: Path) -> None:
    assert DATASETS["thumos14"].check_options(annotations="a.json", features=None, manifest=None) == {
        "annotations": "a.json"
    }
    assert DATASETS["hapt"].check_options(annotations=None, features=None, manifest=None) == {}
    with pytest.raises(ValueError, match="hapt is read from the download as it is and has no option features"):
        open_source("hapt", tmp_path, features=[tmp_path])
    with pytest.raises(ValueError, match="hapt has no synthetic twin: give data_root, the UCI HAPT zip"):
        load_dataset("hapt")
    with pytest.raises(ValueError, match=r"unknown data set 'charade'; did you mean 'charades'\?"):
        get_dataset("charade")
