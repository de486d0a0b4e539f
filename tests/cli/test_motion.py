"""`--detect-every` and `--motion`: frames that nobody looks at, and tracks that a network finds again."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.models.followers import colour_network
from tracker.cli import main
from tracker.formats.recording import Recording

STREET = "synth:street?seed=7&size=320x180&frames=20&objects=6"
SAVED = ("--save", "mot,mots,jsonl,kitti-mots-png,kitti-step")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Backbone of a network that finds colours."""
    return str(colour_network(tmp_path_factory.mktemp("siamese")))


def run(folder: Path, *argv: str) -> int:
    return main(["run", STREET, "--model", "street", "-o", str(folder), "--record", str(folder / "run.trk"), *argv])


def frames_of(folder: Path) -> list[dict]:
    lines = (json.loads(line) for line in (folder / "tracks.jsonl").read_text().splitlines())
    return [line for line in lines if "frame" in line]


def test_outputs_go_on_where_nobody_looked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "a", *SAVED, "--detect-every", "3") == 0
    frames = frames_of(tmp_path / "a")
    looked = [record.detections.looked for record in Recording.open(tmp_path / "a/run.trk").records()]
    assert len(frames) == 20 and looked == [k % 3 == 0 for k in range(20)]
    for before, frame in pairwise(frames):
        if frame["frame"] % 3:
            assert [(t["id"], t["state"], t["misses"]) for t in frame["tracks"]] == [
                (t["id"], t["state"], t["misses"]) for t in before["tracks"]
            ]
            assert all(t["detection"] is None for t in frame["tracks"])
    rows = np.loadtxt(tmp_path / "a/tracks.txt", delimiter=",", usecols=0)
    assert set(rows.astype(int)) >= {11, 12}  # boxes in every frame
    masks = {int(line.split()[0]) for line in (tmp_path / "a/masks.txt").read_text().splitlines()}
    assert masks and all(frame % 3 == 0 for frame in masks)  # masks where somebody looked
    for kind in ("kitti_step", "kitti_mots_png"):
        assert len(list((tmp_path / "a" / kind).glob("*.png"))) == 20
    capsys.readouterr()
    assert main(["replay", str(tmp_path / "a/run.trk"), "-o", str(tmp_path / "b"), "--save", "mot"]) == 0
    assert "tracks: as recorded, bit for bit" in capsys.readouterr().out
    assert (tmp_path / "a/tracks.txt").read_bytes() == (tmp_path / "b/tracks.txt").read_bytes()


@pytest.mark.parametrize("system", ["bytetrack", "siammot"])
def test_learned_motion_goes_with_any_detector(
    tmp_path: Path, network: str, system: str, capsys: pytest.CaptureFixture[str]
) -> None:
    motion = ("--motion", network, "--tracker", system)
    assert run(tmp_path / "a", "--save", "mot,jsonl", "--detect-every", "2", *motion) == 0
    found = [record.detections.track_ids for record in Recording.open(tmp_path / "a/run.trk").records()]
    assert sum(int((ids >= 0).sum()) for ids in found[1:]) > 20
    between = [t for frame in frames_of(tmp_path / "a") if frame["frame"] % 2 for t in frame["tracks"]]
    assert sum(t["detection"] is not None for t in between) > len(between) / 2  # the rows that moved them
    capsys.readouterr()
    trk = str(tmp_path / "a/run.trk")
    assert main(["replay", trk, "-o", str(tmp_path / "b"), "--save", "mot"]) == 0
    assert "tracks: as recorded, bit for bit" in capsys.readouterr().out
    again = ["replay", trk, "-o", str(tmp_path / "c"), "--save", "mot", "--set", "max_coast_frames=3", "--quiet"]
    assert main(again) == 2
    assert "learned motion" in capsys.readouterr().err
    assert main([*again, "--motion", network, "--source", STREET]) == 0
    assert main([*again[:-3], "--quiet", "--tracker", "sort"]) == 0  # boxes alone, without the rows


def test_what_cannot_be_done_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, words in (
        (["--detect-every", "0"], "at least 1"),
        (["--tracker", "siammot"], "--motion can"),
        (["--motion", str(tmp_path / "nanotrack_backbone.onnx")], "no model file"),
        (["--motion", "osnet.onnx"], "expected learned motion"),
    ):
        assert run(tmp_path / "out", *argv) == 2, argv
        said = capsys.readouterr().err
        assert words in said and len(said.strip().splitlines()) == 1, said
