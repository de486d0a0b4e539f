"""Benchmarks of whole pipelines measure what they say, and refuse what they cannot vouch for."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from bench import __main__ as command
from bench import multi_stream, offline, pipeline_tables, repeat, result, workload
from bench.live import PacedCapture
from bench.stages import STAGES, Timed, Times, run_bare
from bench.workload import Case, Digest, cases, play
from tracker.models import open_model
from tracker.sources import open_source
from tracker.types import Tracks

STREET = "synth:street?seed=7&objects=3&size=320x180&frames=6"
FEW = ["--source", STREET, "--frames", "4", "--warmup-frames", "1", "--warmup-s", "0", "--threads", "1"]


def few(**more: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    workload.add_flags(parser, frames=300)
    arguments = parser.parse_args(FEW)
    for name, value in more.items():
        setattr(arguments, name, value)
    return arguments


@pytest.fixture(scope="module")
def case() -> Case:
    (found,) = cases(few())
    return found


def test_every_stage_is_timed_once_per_frame(case: Case) -> None:
    times = Times()
    _, digest = play(case, Timed(case.model, times, bound=True), frames=4, overlap=False, times=times)
    assert [name for name in STAGES if name in times.ns] == list(STAGES), "bound buffers split the session"
    assert all(len(times.ns[name]) == 4 for name in STAGES)
    whole, parts = times.frames(), np.sum([times.ns[name] for name in STAGES], axis=0)
    assert (parts <= whole).all(), "a frame is at least the sum of its stages"
    session = np.sum([times.ns[name] for name in ("h2d", "infer", "d2h")], axis=0)
    assert (session <= np.array(times.ns["session"])).all()
    assert digest.objects > 0


def test_buffers_on_the_device_and_overlap_change_no_track(case: Case) -> None:
    hashes = {
        play(case, Timed(case.model, Times(), bound=bound), frames=4, overlap=overlap)[1].sha256
        for bound, overlap in itertools.product((False, True), repeat=2)
    }
    assert len(hashes) == 1


def test_the_digest_sees_every_id_and_box() -> None:
    def of(*tracks: Tracks) -> str:
        digest = Digest()
        with open_source(STREET) as source:
            for frame, given in zip(source, tracks, strict=False):
                digest.write(frame, given)
        return digest.sha256

    associator = workload.create("bytetrack", frame_rate=30)
    model = open_model("street", device="cpu", threads=1)
    with open_source(STREET) as source:
        seen = [associator.update(model(frame), frame) for frame in source]
    assert of(*seen) == of(*seen) != of(*seen[:-1]) and of(seen[-1]) != of(seen[0])


def test_bare_is_onnxruntime_itself(case: Case) -> None:
    (given,) = case.inputs(1)
    assert run_bare(case.model.session, given) > 0


def test_bare_gets_what_the_session_got(case: Case) -> None:
    first, second = case.inputs(2)
    assert first.keys() == second.keys() == case.model.session.inputs.keys() and case.model.remembers
    alone = case.model.preprocess(case.images(1)[0]).tensors["image"]
    np.testing.assert_array_equal(second["previous"], alone)
    np.testing.assert_array_equal(first["previous"], alone)
    assert np.abs(second["image"] - alone).max() > 0


def test_streams_of_a_timed_network_remember_apart(case: Case) -> None:
    network, images = Timed(case.model, Times(), bound=True), case.images(2)
    one, other = network.for_stream(), network.for_stream()
    tensors = [network.preprocess(image).tensors for image in images]
    for eye, index, before in ((one, 0, 0), (other, 1, 1), (one, 1, 0), (network.for_stream(), 1, 1)):
        eye.infer(tensors[index])
        np.testing.assert_array_equal(network.given["previous"], tensors[before]["image"])


def test_a_pass_longer_than_its_source_is_refused(case: Case) -> None:
    with pytest.raises(result.BenchError, match="expected 9 frames of synth:street, it has 6; ask for fewer"):
        play(case, case.model, frames=9, overlap=False)


def test_quick_only_shrinks() -> None:
    arguments = few(quick=True, frames=300, warmup_frames=1, warmup_s=3.0, rounds=5)
    workload.settle(arguments)
    assert (arguments.frames, arguments.warmup_frames, arguments.warmup_s) == (12, 1, 0.1) and arguments.rounds == 2


def test_a_quick_try_never_becomes_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = result.begin("offline", ["--quick"], {"quick": True})
    result.finish(head, [], [], tmp_path / "x.json")
    (tmp_path / "README.md").write_text("<!-- bench:offline -->\n<!-- /bench -->\n")
    assert command.main(["report", str(tmp_path / "x.json"), "--pages", str(tmp_path / "README.md")]) == 2
    assert "python -m bench offline --quick was only a try" in capsys.readouterr().err


def test_tracks_that_depend_on_overlap_are_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    real = offline.play

    def falsified(*args: object, overlap: bool, **more: object) -> object:
        report, digest = real(*args, overlap=overlap, **more)  # type: ignore[arg-type]
        if overlap:
            digest._hash.update(b"x")
        return report, digest

    monkeypatch.setattr(offline, "play", falsified)
    case.arguments.rounds = 1
    with pytest.raises(result.BenchError, match="different tracks on synth:street with and without overlap"):
        offline.measure(case)


def test_streams_in_lock_step_wait_for_each_other(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[tuple[str, int]] = []
    write = Digest.write

    def note(self: Digest, frame: object, tracks: object) -> None:
        order.append(("written", frame.index))  # type: ignore[attr-defined]
        write(self, frame, tracks)  # type: ignore[arg-type]

    monkeypatch.setattr(Digest, "write", note)
    row = multi_stream.measure(case, 3, 1)
    assert [index for _, index in order] == [k for k in range(4) for _ in range(3)]
    assert row["us"]["n"] == 4 and row["figures"]["mean_batch"] == 1
    assert row["figures"]["fps"] == pytest.approx(3e6 / row["us"]["p50"], rel=0.01)


def test_a_stream_that_ends_early_stops_all(case: Case) -> None:
    (short,) = cases(few(frames=8))
    with pytest.raises(result.BenchError, match=r"a stream of synth:street failed: .*(fewer than 8|ended early)"):
        multi_stream.measure(short, 2, 1)


def test_a_camera_does_not_wait() -> None:
    images = [np.full((4, 4, 3), k, np.uint8) for k in range(3)]
    capture, start = PacedCapture(images, 100.0, 5), monotonic()
    arrived = [(stamp, due, picture[0, 0, 0]) for stamp, due, picture in capture.pictures()]
    assert monotonic() - start >= 0.04
    assert [value for *_, value in arrived] == [0, 1, 2, 0, 1]
    np.testing.assert_allclose(np.diff([due for _, due, _ in arrived]), 0.01)
    np.testing.assert_allclose([stamp for stamp, *_ in arrived], np.arange(5) / 100)
    with pytest.raises(result.BenchError, match="expected images"):
        PacedCapture([], 30.0, 5)


def test_a_dead_child_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["cold", "--modes", "cached", "--starts", "1", "--source", str(tmp_path / "none.mp4")]
    assert command.main([*words, "-o", str(tmp_path / "x.json")]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and "no track in 300 frames of a fresh process: " in told and "none.mp4" in told


def test_repeats_keep_the_range_of_every_figure() -> None:
    def run(fps: float, digest: str = "a") -> list[result.Row]:
        us = {"n": 3, "p50": 1e6 / fps}
        return [
            {"scene": "s", "mode": "m", "competitor": "overlap", "us": us, "figures": {"fps": fps, "precision": "x"},
             "times_bare": {"p5": 1.0, "p50": fps / 10, "p95": 2.0}, "tracks_sha256": digest}
        ]  # fmt: skip

    (merged,) = repeat.merge([run(10.0), run(12.0), run(11.0)])
    assert merged["figures"] == {"fps": 11.0, "precision": "x"} and merged["figures_spread"] == {"fps": [10.0, 12.0]}
    assert merged["times_bare"]["p50"] == 1.1
    assert "| 11 | 10 to 12 | +10 % (+0 % to +100 %) |" in pipeline_tables.offline([merged])
    with pytest.raises(result.BenchError, match="different tracks"):
        repeat.merge([run(10.0), run(10.0, "b")])


def test_pipelines_repeat_in_five_processes_unless_quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[int] = []
    monkeypatch.setattr(repeat, "repeat", lambda what, words, count, output: asked.append(count))
    monkeypatch.setattr(command, "run_once", lambda *_: asked.append(1))
    for words in (["offline"], ["offline", "--quick"], ["offline", "--repeats", "3"], ["masks"]):
        assert command.main([*words, "-o", str(tmp_path / "x.json")]) == 0
    assert asked == [5, 1, 3, 1]
