"""Plans are checked when they are made, in one line."""

import numpy as np
import pytest

from tracker.association import Plan, Stage
from tracker.association.table import FIRST_STAGE, WIDTH
from tracker.errors import ConfigError


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tracks": "confirmed"}, "tracks"),
        ({"tracks": ()}, "tracks"),
        ({"tracks": ("lost",)}, "tentative, confirmed, coasting, got 'lost'"),
        ({"terms": ()}, "at least one term"),
        ({"box": "next"}, "box"),
        ({"solver": "magic"}, "exact, greedy, dense, nearest, claim, lap, rectangular, got 'magic'"),
        ({"gate_when": "never"}, "before, after"),
        ({"gate": 1.5}, "gate as a number from 0 to 1, got 1.5"),
        ({"gate": float("nan")}, "gate"),
        ({"gate": "0.3"}, "gate"),
        ({"score_above": 0.6, "score_below": 0.6}, "score_above < score_below"),
        ({"shortcut": 1}, "shortcut to be true or false"),
        ({"fuse_score": "yes"}, "fuse_score"),
        ({"direction": 2.0, "gate_when": "after"}, "direction as a number from 0 to 1"),
        ({"direction": 0.2}, "gate_when"),
        ({"all_pairs": True}, "full and gate_when"),
        ({"least_hits": -1}, "least_hits"),
    ],
)
def test_bad_stages(fields, said):
    with pytest.raises(ConfigError, match=said) as error:
        Stage(**fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stages": ()}, "at least one stage"),
        ({"stages": [Stage()]}, "tuple of Stage"),
        ({"motion": "xyz"}, "xysr, xyah, xywh, steady, none, got 'xyz'"),
        ({"max_coast_frames": -1}, "max_coast_frames"),
        ({"max_coast_frames": 2.0}, "whole number"),
        ({"confirm_hits": True}, "confirm_hits"),
        ({"birth_score": float("nan")}, "birth_score"),
        ({"duplicate_iou": 2}, "duplicate_iou"),
        ({"per_class": 0}, "per_class"),
        ({"look_back_frames": 7}, "whole number from 1 to 6, got 7"),
        ({"replay": 1}, "replay"),
        ({"births": "ids"}, "rows, classes, got 'ids'"),
    ],
)
def test_bad_plans(fields, said):
    with pytest.raises(ConfigError, match=said) as error:
        Plan(**{"stages": (Stage(),), **fields})
    assert "\n" not in str(error.value)


def test_encoding_is_one_small_table():
    table = Plan(stages=(Stage(), Stage(gate=0.5))).encode()
    assert table.shape == (FIRST_STAGE + 2, WIDTH) and table.dtype == np.float64
    assert table.flags["C_CONTIGUOUS"]
    assert (table[FIRST_STAGE] != table[FIRST_STAGE + 1]).sum() == 1
