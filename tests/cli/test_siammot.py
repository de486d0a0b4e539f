"""`--model` of SiamMOT's graphs: the network that detects also finds the tracks again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import pytest

from tests.models.siammot_set import STEP, picture, write_set
from tracker.cli import main
from tracker.cli.run import RunConfig
from tracker.models.siammot import SEARCHES

RED, BLUE = [10, 10, 30, 40], [70, 20, 90, 50]
FRAMES = 6


def moved(box: list[int], frames: int) -> list[int]:
    return [box[0] + STEP * frames, box[1], box[2] + STEP * frames, box[3]]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    places = [[x0, y0, x1 - 1, y1 - 1] for x0, y0, x1, y1 in (RED, BLUE)]
    return write_set(tmp_path_factory.mktemp("siammot") / "set", places)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, in which a red thing is hidden in frame 3."""
    folder = tmp_path_factory.mktemp("video") / "pictures"
    folder.mkdir()
    for k in range(FRAMES):
        things = {"red": [] if k == 3 else [moved(RED, k)], "blue": [moved(BLUE, k)]}
        cv2.imwrite(str(folder / f"{k:06}.png"), picture(things))
    return folder


def run(video: Path, graphs: Path, out: Path, *words: str, system: str = "siammot") -> int:
    given = ["run", str(video), "--model", str(graphs), "--tracker", system, "--device", "cpu", "-o", str(out)]
    return main([*given, "--save", "mot", "--set", "birth_score=0.8", "--record", str(out) + ".trk", *words])


def rows_of(out: Path) -> list[list[float]]:
    """Frame, id and half-open box of every line."""
    lines = [[float(x) for x in line.split(",")] for line in (out / "tracks.txt").read_text().splitlines()]
    return [[f - 1, i, x - 1, y - 1, x - 1 + w, y - 1 + h] for f, i, x, y, w, h, *_ in lines]


@pytest.mark.parametrize("words", [(), ("--overlap", "no"), ("--detect-every", "2")])
def test_a_video_and_its_replay(
    video: Path, graphs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert run(video, graphs, tmp_path / "a", *words) == 0
    rows = rows_of(tmp_path / "a")
    assert [row[2:] for row in rows if row[1] == 2] == [moved(BLUE, k) for k in range(FRAMES)]
    found = {"--detect-every": [0, 1, 2, 3, 4, 5]}.get(words[0] if words else "", [0, 1, 2, 4, 5])
    assert [row[0] for row in rows if row[1] == 1] == found, "nobody is missed in frame 3 where nothing was detected"
    capsys.readouterr()
    assert main(["replay", str(tmp_path / "a.trk"), "-o", str(tmp_path / "b"), "--save", "mot"]) == 0
    assert "tracks: as recorded, bit for bit" in capsys.readouterr().out
    assert rows_of(tmp_path / "b") == rows


def test_rows_of_either_head(video: Path, graphs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(video, graphs / "motion.onnx", tmp_path / "a") == run(
        video, graphs, tmp_path / "b", system="siammot-emm"
    )
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b") != []
    capsys.readouterr()
    assert run(video, graphs, tmp_path / "c", system="siammot-imm") == 2
    assert "needs the track head imm, this SiamMOT has emm" in capsys.readouterr().err
    assert run(video, Path("street"), tmp_path / "d", system="siammot-emm") == 2
    assert "siammot-emm" in capsys.readouterr().err


def test_rows_without_learned_motion(
    video: Path, graphs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(video, graphs, tmp_path / "a", system="siammot-tracktor") == 0
    blue = [row[2:] for row in rows_of(tmp_path / "a") if row[1] == 2]
    assert blue == [BLUE] * FRAMES, "this box head gives every box back as it is"
    assert run(video, graphs, tmp_path / "b", system="siammot-flow") == 0
    blue = [row for row in rows_of(tmp_path / "b") if row[1] == 2]
    assert max(abs(row[2] - moved(BLUE, int(row[0]))[0]) for row in blue) < 2, "flow is in a textureless picture"
    assert len(blue) == FRAMES and blue[-1][2] > BLUE[0] + 4
    capsys.readouterr()
    for system, words in (("siammot-tracktor", "no masks along optical flow"), ("siammot-flow", "none.onnx")):
        assert run(video, graphs, tmp_path / "c", "--flow", "none.onnx", system=system) == 2
        assert words in capsys.readouterr().err and not (tmp_path / "c").exists()
    assert run(video, Path("street"), tmp_path / "d", system="siammot-tracktor") == 2
    assert "needs --model of SiamMOT's graphs" in capsys.readouterr().err


def test_a_state_holds_the_memory(
    video: Path, graphs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cut into two runs, the ids are those of one; `siammot` starts none that it does not find again."""
    whole, state = tmp_path / "whole", ["--state", str(tmp_path / "run.state")]
    assert run(video, graphs, whole) == 0
    halves = [tmp_path / name for name in "ab"]
    for half, cut in zip(halves, (range(4), range(4, FRAMES)), strict=True):
        part = tmp_path / f"pictures-{half.name}"
        part.mkdir()
        for k in cut:
            (part / f"{k:06}.png").write_bytes((video / f"{k:06}.png").read_bytes())
        assert run(part, graphs, half, *state) == 0
    again = [[row[0] + 4, *row[1:]] for row in rows_of(halves[1])]
    assert rows_of(halves[0]) + again == rows_of(whole)
    capsys.readouterr()
    motion = tmp_path / "run.state.motion"
    saved = motion.read_bytes()
    for content, words in ((saved[:99], "is damaged"), (b"", "is damaged"), (None, "is missing")):
        motion.unlink()
        if content is not None:
            motion.write_bytes(content)
        assert run(video, graphs, tmp_path / "c", *state) == 2
        assert words in capsys.readouterr().err
        motion.touch()
    motion.write_bytes(saved)
    assert run(video, graphs, tmp_path / "c", *state) == 0


def test_as_a_mere_detector(video: Path, graphs: Path, tmp_path: Path) -> None:
    assert run(video, graphs, tmp_path / "a", "--set", "confirm_hits=0", system="bytetrack") == 0
    assert len(rows_of(tmp_path / "a")) > 0


def test_public_detections(video: Path, graphs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    det = tmp_path / "det.txt"
    det.write_text("".join(f"{k + 1},-1,{11 + STEP * k},11,20,30,-5,-1,-1,-1\n" for k in range(2)))
    assert run(video, graphs, tmp_path / "a", "--public-detections", str(det)) == 0
    rows = rows_of(tmp_path / "a")
    assert [row[0] for row in rows] == [0, 1, 2, 4, 5] and {row[1] for row in rows} == {1}
    assert rows[2][2:] == moved(RED, 2)  # given in two frames, followed in all
    capsys.readouterr()
    assert run(video, graphs, tmp_path / "b", "--public-detections", str(det), system="bytetrack") == 2
    assert "--public-detections is for --model of SiamMOT's graphs" in capsys.readouterr().err
    words = ["--model", str(graphs), "--tracker", "siammot", "--public-detections", str(det), "-o", str(tmp_path / "c")]
    assert main(["run", str(video), str(video), *words]) == 2
    assert "track it alone" in capsys.readouterr().err
    assert run(video, graphs, tmp_path / "d", "--public-detections", str(tmp_path / "none.txt")) == 2
    assert not (tmp_path / "d").exists()


def test_where_hidden_tracks_are_searched_for(
    video: Path, graphs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(video, graphs, tmp_path / "a") == run(video, graphs, tmp_path / "b", "--search", "found") == 0
    again = [row[2] for name in "ab" for row in rows_of(tmp_path / name) if row[:2] == [4, 1]]
    assert again == [moved(RED, 3)[0], moved(RED, 4)[0]]  # from frame 2 in one step, or in two
    capsys.readouterr()
    assert run(video, graphs, tmp_path / "c", "--search", "moving") == 0
    assert run(video, graphs, tmp_path / "d", "--search", "moving", system="siammot-flow") == 2
    assert "leave --search moving out" in capsys.readouterr().err
    assert run(video, graphs, tmp_path / "d", "--search", "seen", system="bytetrack") == 2
    assert "--search is for --model of SiamMOT's graphs" in capsys.readouterr().err


def test_the_searches_are_those_of_the_network() -> None:
    (field,) = (field for field in dataclasses.fields(RunConfig) if field.name == "search")
    assert field.metadata["choices"] == tuple(SEARCHES)


def test_several_streams(video: Path, graphs: Path, tmp_path: Path) -> None:
    words = ["--model", str(graphs), "--tracker", "siammot", "--device", "cpu", "--save", "mot", "--quiet"]
    streams = ["--streams", f"one={video}", "--streams", f"two={video}"]
    assert main(["run", *streams, *words, "--set", "birth_score=0.8", "-o", str(tmp_path / "many")]) == 0
    assert run(video, graphs, tmp_path / "alone") == 0
    wanted = rows_of(tmp_path / "alone")
    assert rows_of(tmp_path / "many/one") == rows_of(tmp_path / "many/two") == wanted


def test_other_systems_need_their_parts(graphs: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(video), "--model", str(graphs), "--tracker", "siammot+", "-o", "nowhere"]) == 2
    assert "embeddings" in capsys.readouterr().err and not Path("nowhere").exists()
