"""Rows of SYSTEMS and trackers made from them by name."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.reference.association import crowd, make
from tracker.association import Tracker
from tracker.errors import ConfigError
from tracker.systems import SYSTEMS, create, options, plan


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_row_is_complete(name):
    system = SYSTEMS[name]
    assert system.name == name and system.title and system.notes and "boxes" in system.needs
    assert system.plan.needs <= {*system.needs, "embeddings"}
    assert re.fullmatch(r"own|\d{4}\.\d{4,5}", system.paper)


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_every_option_has_a_help_and_takes_its_own_default(name):
    table = options(name)
    assert {"min_score", "birth_score", "max_coast_frames", "confirm_hits"} <= set(table)
    for option, (default, text) in table.items():
        assert isinstance(default, (bool, int, float, str)) and len(text) > 10
        assert plan(name, **{option: default}) == SYSTEMS[name].plan
    assert plan(name) == SYSTEMS[name].plan


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_every_option_sets_something(name):
    words = {"motion": ("none", "xysr"), "label": ("first", "last"), "flow": ("forward", "none"), "solver": ("greedy",)}
    words |= {"camera": ("boxes", "none"), "births": ("rows", "classes")}
    words["preset"] = tuple(SYSTEMS[name].presets)[1:]
    for option, (default, _) in options(name).items():
        if isinstance(default, bool):
            other = not default
        elif isinstance(default, str):
            other = next(word for word in words[option] if word != default)
        elif isinstance(default, float):
            other = default / 2 + 0.13 if math.isfinite(default) else 0.5
        else:
            other = default + 1 if default < 2**31 - 1 else 7
        chained = {"flow": "prev_to_cur"} if option == "chain_masks" else {}
        assert plan(name, **{option: other}, **chained) != plan(name, **chained), option


def test_one_option_may_set_several_stages():
    high = plan("bytetrack", high_score=0.4)
    assert [high.stages[0].score_above, high.stages[1].score_below, high.stages[2].score_above] == [0.4, 0.4, 0.4]


def test_trackers_are_separate():
    a, b = create("sort"), create("sort", frame_rate=10, max_coast_frames=9)
    assert isinstance(a, Tracker) and a.plan.max_coast_frames == 1 and b.plan.max_coast_frames == 9
    assert (a.frame_rate, b.frame_rate) == (30.0, 10.0)


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_walkers_keep_their_ids(name):
    tracker, ids = make(name), []
    for detections in crowd(7, 12, 100):
        n = len(detections)
        sure = replace(detections, labels=np.zeros(n, np.int32), scores=np.full(n, 0.98))
        ids.append(len(tracker.update(sure).confirmed))
    assert sum(ids[20:]) > 80 * 4


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("deepsort", {}, "no tracker named 'deepsort'; there are sort, bytetrack"),
        ("sort", {"max_age": 3}, "no option 'max_age'; it has match_iou, motion"),
        ("sort", {"match_iou": 3}, r"tracker 'sort' with match_iou=3: expected gate as a number from 0 to 1"),
        ("bytetrack", {"low_score": 0.7}, "low_score=0.7: expected score_above < score_below"),
        ("sort", {"stages": ()}, "no option 'stages'"),
        ("sort", {"max_coast_frames": "3"}, "whole number"),
    ],
)
def test_bad_names_and_values(name, given, said):
    with pytest.raises(ConfigError, match=said):
        create(name, **given)


def test_numbers_of_numpy_are_numbers():
    found = plan("bytetrack", max_coast_frames=np.int64(3), high_score=np.float64(0.5))
    assert found == plan("bytetrack", max_coast_frames=3, high_score=0.5)
