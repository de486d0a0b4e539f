"""`--count`: what is typed, what is counted on a street whose every step is known, and who hears of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracker.cli import main
from tracker.cli.counting import check_places, parse_places
from tracker.errors import ConfigError
from tracker.sources.street import Street

FRAMES = 24
STREET = f"synth:street?seed=1&objects=4&size=320x180&frames={FRAMES}"
DOWN = {"middle": 160, "left": 60}  # vertical lines, drawn downwards: their right is where x is smaller
FLAGS = [flag for name, x in DOWN.items() for flag in ("--count", f"{name}={x},-5,{x},180")]


def run(*argv: str) -> int:
    return main(["run", *argv, "--model", "street"])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def true_crossings(x: float) -> list[int]:
    """How often objects of the street go over a vertical line, to the larger and to the smaller x."""
    street, before, found = Street(seed=1, size=(320, 180), objects=4, frames=FRAMES), {}, [0, 0]
    for index in range(FRAMES):
        scene = street.render(index)
        for number, box in zip(scene.object_ids.tolist(), scene.boxes.tolist(), strict=True):
            place = (box[0] + box[2]) / 2
            if (before.get(number, place) < x) != (place < x):
                found[int(place < x)] += 1
            before[number] = place
    return found


def test_counts_are_those_of_the_street(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room = "room=0,0,320,0,320,180,0,180"
    assert run(STREET, "-o", str(tmp_path), "--save", "jsonl,video", *FLAGS, "--count", room) == 0
    header, *events = lines(tmp_path / "counts.jsonl")
    assert list(header["lines"]) == list(DOWN) and header["zones"]["room"][2] == [320, 180]
    printed = capsys.readouterr().out
    for name, x in DOWN.items():
        left, right = true_crossings(x)
        assert sum(e["where"] == name for e in events) == left + right
        assert f"count {name}: {left} to left, {right} to right\n" in printed
    assert true_crossings(160) == [0, 1]
    born = {track["id"] for line in lines(tmp_path / "tracks.jsonl")[1:] for track in line["tracks"]}
    assert f"count room: {len(born)} entered, 0 exited\n" in printed
    assert f"{tmp_path / 'counts.jsonl'}\n" in printed


def test_a_recording_is_counted_again_and_stdout_gets_the_events(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    record = str(tmp_path / "run.trk")
    assert run(STREET, "-o", "-", "--quiet", "--record", record, *FLAGS) == 0
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    events = [line for line in told if "where" in line]
    assert [e["where"] for e in events] == ["middle", "left"] and len(told) == FRAMES + 2 + len(events)
    assert main(["replay", record, "-o", str(tmp_path / "again"), "--save", "jsonl", *FLAGS]) == 0
    assert lines(tmp_path / "again" / "counts.jsonl")[1:] == events
    assert "count middle: 0 to left, 1 to right\n" in capfd.readouterr().out


def test_each_stream_counts_for_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.toml"
    config.write_text(f'[streams]\na = "{STREET}"\nb = "{STREET}"\n[count]\nmiddle = [160, 0, 160.5, 180]\n')
    out = tmp_path / "out"
    assert run("--config", str(config), "-o", str(out), "--save", "jsonl") == 0
    printed = capsys.readouterr().out
    for name in "ab":
        _, event = lines(out / name / "counts.jsonl")
        assert (event["stream"], event["where"], event["event"]) == (name, "middle", "to_right")
        assert f"count middle of {name}: 0 to left, 1 to right" in printed


@pytest.mark.parametrize(
    "typed", ["a=1,2,3", "a=1,2,3,4,5", "a=1,2", "a=", "a=1,2,3,x", "a=1,2,3,nan", "a=7", "=1,2,3,4", "a=1,2,1,2",
              "a=1,2,3,4,1,2", "a=true", "a=400,0,400,180", "a=-9,0,200,-300", "a=330,0,400,0,400,90"],
)  # fmt: skip
def test_places_without_sense_are_one_line_and_touch_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], typed: str
) -> None:
    with pytest.raises(ConfigError, match="--count") as caught:
        check_places(parse_places(dict([typed.split("=")])), (320, 180))
    assert "\n" not in str(caught.value)
    if typed in ("a=1,2,3", "a=400,0,400,180"):
        (tmp_path / "tracks.jsonl").write_text("an earlier run's")
        assert run(STREET, "-o", str(tmp_path), "--count", typed) == 2
        assert capsys.readouterr().err == f"tracker run: {caught.value}\n"
        assert [path.name for path in tmp_path.iterdir()] == ["tracks.jsonl"]
        assert (tmp_path / "tracks.jsonl").read_text() == "an earlier run's"


@pytest.mark.parametrize("points", ["-9,90,400,90", "300,-9,330,30", "-9,-9,999,-9,999,999,-9,999", "5,5,400,5"])
def test_points_may_lie_outside_the_picture(points: str) -> None:
    check_places(parse_places({"a": points}), (320, 180))
    check_places(parse_places({"a": "900,900,901,901"}), None)
