"""Every benchmark runs small, writes its schema, and its JSON becomes README's table and a plot."""

from __future__ import annotations

import json
import re
import socket
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench import __main__ as command
from bench import competitors, peers, repeat, report, result, soak
from bench.markdown import table
from bench.plot import Line, draw
from tests.bench.test_quality import write_sequence
from tests.models.siammot_set import write_set

STREET = "synth:street?seed=7&objects=3&size=320x180&frames=6"
FEW = [
    "--source", STREET, "--frames", "4", "--warmup-frames", "1", "--warmup-s", "0", "--threads", "1", "--repeats", "1",
]  # fmt: skip
SMALL = {
    "association": [
        "--sizes",
        "5",
        "10",
        "--noisy",
        "5",
        "--heaps",
        "20",
        "--peers",
        "--frames",
        "66",
        "--trackers",
        "sort",
    ],
    "masks": ["--sizes", "4", "--rounds", "5"],
    "kernels": ["--sizes", "10", "--rounds", "5"],
    "postprocess": ["--sizes", "161x97", "--masks", "3", "--rounds", "5"],
    "soak": ["--frames", "2000", "--block", "100", "--trackers", "bytetrack"],
    "evaluation": ["--frames", "40", "--objects", "6", "--rounds", "5"],
    "quality": ["--trackers", "sort", "--peers", "--half", "second"],
    "streets": ["--seeds", "1", "--frames", "3", "--size", "320x180"],
    "siammot": ["--targets", "2", "--rounds", "3"],
    "fast": ["--seeds", "1", "--frames", "3", "--size", "320x180", "--fps", "5", "--shake", "5"],
    "videos": ["--source", STREET, "--model", "street", "--tables", "step", "--frames", "4"],
    "model": FEW,
    "single-stream": FEW,
    "multi-stream": [*FEW, "--streams", "1", "2"],
    "offline": [*FEW, "--rounds", "1"],
    "live": [*FEW, "--seconds", "0.5"],
    "cold": [*FEW, "--modes", "cached", "--starts", "1"],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bench")
    paths = {what: folder / f"{what}.json" for what in SMALL}
    write_sequence(folder, "A")
    files = {
        "quality": ["--detections", str(folder / "det"), "--gt", str(folder / "gt")],
        "siammot": ["--model", str(write_set(folder / "siammot", [[10, 10, 29, 39]]))],
        "fast": ["--model", str(write_set(folder / "fast", [[10, 10, 29, 39]], classes=("person", "car")))],
    }
    for what, words in SMALL.items():
        assert command.main([what, *words, *files.get(what, []), "-o", str(paths[what])]) == 0
    return paths


def test_every_benchmark_is_tried_here() -> None:
    assert {*SMALL, "report"} == set(command.BENCHMARKS) and set(SMALL) == set(report.TABLES)


@pytest.mark.parametrize("what", SMALL)
def test_results_say_what_and_where(results: dict[str, Path], what: str) -> None:
    body = result.read(results[what])
    assert body["schema"] == "trackstream.bench/1" and body["benchmark"] == what and body["rows"]
    assert set(body) >= {"command", "options", "time_utc", "git", "system", "load_before", "load_after", "gc", "notes"}
    assert {"cpu", "cores", "python", "packages"} <= set(body["system"]) and "numba" in body["system"]["packages"]
    for row in body["rows"] if what not in ("quality", "streets", "videos", "fast") else ():
        times = row["block_us" if what == "soak" else "us"]
        assert 0 < times["p50"] <= times["p90"] <= times["p95"] <= times["p99"] <= times["max"]
    text = results[what].read_text()
    assert "/" not in body["command"] and str(Path.home()) not in text and str(results[what].parent) not in text
    assert f'"{socket.gethostname()}"' not in text


def test_schema_is_documented(results: dict[str, Path]) -> None:
    documented = set(re.findall(r"`(\w+)`", (Path(report.__file__).parent / "README.md").read_text()))
    for path in results.values():
        body = json.loads(path.read_text())
        assert set(body) <= documented, set(body) - documented
        for row in body["rows"]:
            assert set(row) | set(row.get("figures", {})) <= documented


def test_report_writes_tables_between_markers_and_plots(results: dict[str, Path], tmp_path: Path, capsys) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(
        "".join(f"# {what} stays\n<!-- bench:{what} -->\nold\n<!-- /bench -->\n" for what in SMALL) + "end\n"
    )
    words = ["report", *map(str, results.values()), "--pages", str(readme), "--docs", str(tmp_path / "docs")]
    assert command.main(words) == 0
    text = readme.read_text()
    assert "\nold\n" not in text and text.endswith("<!-- /bench -->\nend\n") and text.count(" stays\n") == len(SMALL)
    assert all(f"    python -m bench {what} --" in text for what in SMALL)
    assert "| crowd-10 |" in text and "| trackstream Masks |" in text and "match_exact" in text
    for mode in report.MODES:
        drawn = ET.fromstring((tmp_path / "docs" / f"bench-association-{mode}.svg").read_text())
        assert "trackstream sort" in "".join(drawn.itertext())
    for what in ("model", "single-stream"):
        drawn = ET.fromstring((tmp_path / "docs" / f"bench-{what}.svg").read_text())
        told = "".join(drawn.itertext())
        assert all(stage in told for stage in ("preprocess", "infer", "decode", "bare session.run", "p99"))
        inside = [float(point.get("cx", "-1")) for point in drawn.iter("{http://www.w3.org/2000/svg}circle")]
        assert len(inside) >= 15 and all(150 <= x <= 770 for x in inside)
    assert command.main(words) == 0 and readme.read_text() == text, "the same figures give the same page"
    readme.write_text("no markers\n")
    assert command.main(words) == 2
    assert "expected one pair of <!-- bench:association -->" in capsys.readouterr().err
    assert readme.read_text() == "no markers\n"


def test_a_foreign_file_is_refused(tmp_path: Path, capsys) -> None:
    for text, words in (("{}", "expected schema"), ("no json", "expected a result")):
        (tmp_path / "x.json").write_text(text)
        assert command.main(["report", str(tmp_path / "x.json")]) == 2
        assert words in capsys.readouterr().err


def test_no_folder_of_a_machine_gets_into_a_result() -> None:
    typed = ["--model", "/secret/models/yolo.onnx", "--source", "/secret/a.mp4", "synth:street?seed=7", "-o", "/x"]
    options = {
        "model": ["/secret/models/yolo.onnx"], "source": ["/secret/a.mp4", "synth:street?seed=7"], "reid": "/secret/r/",
        "truth": [Path("/secret/gt.txt")], "flow": None, "frames": 12,
    }  # fmt: skip
    head = result.begin("videos", typed, options)
    assert head["command"] == "python -m bench videos --model yolo.onnx --source a.mp4 synth:street?seed=7"
    assert head["options"] == {
        "model": ["yolo.onnx"], "source": ["a.mp4", "synth:street?seed=7"], "reid": "r", "truth": ["gt.txt"],
        "flow": None, "frames": 12,
    }  # fmt: skip


def row(p50: float, digest: str = "a") -> result.Row:
    return {"scene": "s", "mode": "warm", "competitor": "c", "us": {"n": 5, "p50": p50}, "tracks_sha256": digest}


def test_repeats_give_medians_and_must_agree() -> None:
    (merged,) = repeat.merge([[row(5.0)], [row(1.0)], [row(2.0)]])
    assert merged["us"]["p50"] == 2.0 and merged["p50_spread_us"] == [1.0, 5.0] and merged["repeats"] == 3
    with pytest.raises(result.BenchError, match="different tracks"):
        repeat.merge([[row(1.0)], [row(1.0, "b")]])
    with pytest.raises(result.BenchError, match="measure the same"):
        repeat.merge([[row(1.0)], []])


def test_tracks_have_one_hash_per_run_and_per_system(results: dict[str, Path]) -> None:
    rows = result.read(results["association"])["rows"]
    hashes = {(r["scene"], r["tracks_sha256"]) for r in rows}
    assert len(hashes) == len({r["scene"] for r in rows}) == 4, "warm and cold are one run's tracks"


def test_an_absent_peer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> list[competitors.Competitor]:
        raise ModuleNotFoundError("No module named 'nothing'")

    monkeypatch.setitem(peers.PEERS, "nothing", absent)
    assert peers.installed_peers(["nothing"]) == ([], ["nothing is absent: No module named 'nothing'"])


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_follows_ten_people(name: str) -> None:
    try:
        found = peers.PEERS[name]()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    from bench.scenes import crowd

    scene = crowd(10, 40)
    for peer in found:
        digest, update = competitors.Digest(peer, scene), peer.make()
        for given in peer.prepare(scene):
            digest.add(update(*given), given)
        figures = digest.figures()
        assert 5 < figures["reported"] <= 11 and figures["ids"] < 100, (peer.name, figures)


@pytest.mark.parametrize("name", ["supervision", "norfair", "boxmot"])
def test_a_peer_bridges_frames_without_detections(name: str) -> None:
    try:
        found = peers.PEERS[name]()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    from bench.scenes import crowd

    scene = crowd(10, 40)
    scene.frames[30:32] = [frame.select(frame.scores < 0) for frame in scene.frames[30:32]]
    for peer in found:
        update = peer.make()
        seen = [set(peer.read(update(*given), given, scene)[0]) for given in peer.prepare(scene)]
        assert len(seen[29]) > 3 and len(seen[29] & seen[-1]) > len(seen[29]) / 2, (peer.name, seen[29], seen[-1])


def test_a_supervision_without_bytetrack_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(__version__="0.31.2"))
    note = "supervision is absent: supervision 0.31.2 has no ByteTrack, the last with one is 0.29"
    assert peers.installed_peers(["supervision"]) == ([], [note])


def test_boxmot_is_called_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """boxmot itself may be absent: what it gets and how it is read, by its page on the interface of version 24."""
    from bench.scenes import crowd

    given: list[np.ndarray] = []

    def create_tracker(spec: str) -> SimpleNamespace:
        def update(rows: np.ndarray) -> np.ndarray:
            given.append(rows)
            packed = np.zeros((len(rows), 8))
            packed[:, :4], packed[:, 4], packed[:, 7] = rows[:, :4], 7 + np.arange(len(rows)), np.arange(len(rows))
            return packed

        return SimpleNamespace(update=update)

    monkeypatch.setitem(sys.modules, "boxmot", SimpleNamespace(create_tracker=create_tracker))
    monkeypatch.setitem(sys.modules, "boxmot.trackers", SimpleNamespace(TrackerSpec=lambda name: name))
    monkeypatch.setattr(peers.metadata, "version", lambda name: "25.0.0")
    scene = crowd(3, 4)
    scene.frames[1] = scene.frames[1].select(scene.frames[1].scores < 0)
    for peer in peers.boxmot():
        update = peer.make()
        for detections, rows in zip(scene.frames, peer.prepare(scene), strict=True):
            ids, boxes = peer.read(update(*rows), rows, scene)
            assert ids == list(range(7, 7 + len(detections))) and boxes.shape == (len(detections), 4)
            assert given[-1].shape == (len(detections), 6) and given[-1].dtype == np.float64
            np.testing.assert_array_equal(given[-1][:, :4], detections.boxes)
            np.testing.assert_array_equal(given[-1][:, 4], detections.scores)
    monkeypatch.setattr(peers.metadata, "version", lambda name: "13.1.4")
    assert peers.installed_peers(["boxmot"])[1] == [
        "boxmot is absent: boxmot 13.1.4 has another interface, expected 24 or later"
    ]


def test_errors_are_one_line(capsys, tmp_path: Path) -> None:
    for words in (
        ["association", "--sizes", "--noisy", "--heaps", "--detections", str(tmp_path)],
        ["association", "--trackers", "nothing"],
        ["association", "--peers", "nothing"],
        ["association", "--sizes", "10", "--frames", "5", "--peers"],
        ["soak", "--frames", "10"],
    ):
        assert command.main([*words, "-o", str(tmp_path / "x.json")]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(SystemExit):
        command.main(["nothing"])


def test_a_plot_escapes_names_and_survives_one_point() -> None:
    drawn = ET.fromstring(draw("a < b", "x", "y", [Line("<&>", [(10.0, 3.0)])]))
    assert "<&>" in "".join(drawn.itertext())


def timed(competitor: str, like: str, p50: float, **more: object) -> result.Row:
    place = {"scene": "crowd-10", "objects": 9.6, "mode": "warm", "competitor": competitor, "like": like}
    return {**place, "us": {"p50": p50, "p99": 2 * p50}, **more}


def test_peers_stand_beside_ours_of_the_same_method() -> None:
    rows = [timed(f"trackstream {name}", name, 8.0) for name in ("sort", "bytetrack", "steady", "botsort")]
    rows += [timed(f"{name} X", name, 80.0, times_ours={"p50": 10.0}) for name in ("bytetrack", "sort")]
    heads = [line for line in report.association(rows).splitlines() if line.startswith("| scene")]
    assert heads == [
        "| scene | objects | trackstream sort | sort X |",
        "| scene | objects | trackstream bytetrack | bytetrack X |",
        "| scene | objects | trackstream steady | trackstream botsort |",
    ]
    assert "| crowd-10 | 9.6 | 8 / 16 | 80 / 160 (10x) |" in report.association(rows)


def test_columns_of_words_are_flush_left() -> None:
    assert table(["", "", "us"], [["a", "1x", "2.5"], ["b", "", "3"]]).splitlines()[1] == "| --- | ---: | ---: |"
    assert table(["", "", "us"], [["a", "", "2.5"], ["b", "overlap", "3"]]).splitlines()[1] == "| --- | --- | ---: |"


def test_a_plot_of_many_lines_keeps_them_apart() -> None:
    lines = [Line(f"name {k}", [(10.0, 30.0 + k), (1000.0, 300.0 + k)], strong=k == 0) for k in range(12)]
    drawn = ET.fromstring(draw("t", "x", "y", lines))
    svg = "{http://www.w3.org/2000/svg}"
    names = {text.text: float(text.get("y", "0")) for text in drawn.iter(f"{svg}text")}
    heights = sorted(names[line.name] for line in lines)
    assert min(b - a for a, b in pairwise(heights)) >= 15
    paths = [line for line in drawn.iter(f"{svg}polyline") if line.get("stroke-opacity") is None]
    looks = [(line.get("stroke"), line.get("stroke-dasharray")) for line in paths]
    assert len(set(looks)) == 12 and paths[-1].get("stroke-width") == "3", "the strong one is drawn over the others"
    assert {"1,000", "100"} <= set(names) and "10,000" not in names, "the axis ends near the values"


@pytest.mark.slow
@pytest.mark.parametrize("name", competitors.box_systems())
def test_memory_stays_flat(name: str) -> None:
    """1e5 frames here; `python -m bench soak` runs a million, and says whether they get slower."""
    figures = soak.soak(name, 100_000)["figures"]
    assert figures["bytes_per_frame"] < 20
