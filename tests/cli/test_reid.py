"""`--reid`: identity vectors for any detector, from crops or from the model's own features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models import graphs
from tests.models.followers import colour_network
from tests.models.test_pooling import segmenter
from tests.models.test_reid import network
from tracker.cli import main
from tracker.formats.recording import Recording
from tracker.models import Session, SessionConfig

STREET = "synth:street?seed=7&size=320x180&frames=6&objects=8"


@pytest.fixture(scope="module")
def reid(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network of two mean colours."""
    return str(network(tmp_path_factory.mktemp("reid") / "reid.onnx"))


def run(*argv: str) -> int:
    return main(["run", STREET, "--save", "mot", "--quiet", *argv])


def looks(path: Path) -> list[np.ndarray]:
    return [detections.embeddings for _, detections in Recording.open(path)]


@pytest.mark.parametrize("system", ["motsnet", "botsort", "vpsnet", "trackrcnn"])
def test_any_detector_gets_embeddings(reid: str, tmp_path: Path, system: str) -> None:
    file = tmp_path / "run.trk"
    assert (
        run("--model", "street", "--tracker", system, "--reid", reid, "--record", str(file), "-o", str(tmp_path)) == 0
    )
    found = looks(file)
    assert len(found) == 6 and all(rows.shape[1] == 6 for rows in found) and sum(map(len, found)) > 12
    norms = np.linalg.norm(np.concatenate(found), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-3)


def test_streams_share_the_network_and_its_threads(reid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    genuine = Session.__init__

    def spied(session: Session, path: Path, config: SessionConfig | None = None, **options: Any) -> None:
        opened.append((Path(path).name, config and config.threads))
        genuine(session, path, config, **options)

    monkeypatch.setattr(Session, "__init__", spied)
    siamese = colour_network(tmp_path)
    argv = ["--model", "street", "--reid", reid, "--motion", str(siamese), "--threads", "1", "-o", str(tmp_path)]
    assert main(["run", STREET, STREET, "--tracker", "siammot+", "--save", "mot", "--quiet", *argv]) == 0
    files = ("street.onnx", Path(reid).name, siamese.name, siamese.name.replace("backbone", "head"))
    assert sorted(opened) == sorted((file, 1) for file in files)


def test_crops_are_masked_where_asked_for(reid: str, tmp_path: Path) -> None:
    names = {"masked": "--reid-masked", "plain": "--no-reid-masked", "usual": "--quiet"}
    for name, flag in names.items():
        file = str(tmp_path / f"{name}.trk")
        assert run("--model", "street", "--reid", reid, flag, "--record", file, "-o", str(tmp_path)) == 0
    masked, plain, usual = (np.concatenate(looks(tmp_path / f"{name}.trk")) for name in names)
    np.testing.assert_array_equal(plain, usual)
    assert np.abs(masked - plain).max() > 0.05


def test_a_recording_keeps_them_or_gets_new_ones(reid: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, first = str(tmp_path / "run.trk"), str(tmp_path / "first")
    assert run("--model", "street", "--tracker", "motsnet", "--reid", reid, "--record", file, "-o", first) == 0
    assert main(["replay", file, "--save", "mot", "-o", str(tmp_path / "again")]) == 0
    assert "as recorded, bit for bit" in capsys.readouterr().out
    bare = str(tmp_path / "bare.trk")
    assert run("--model", "street", "--record", bare, "-o", str(tmp_path)) == 0
    late = ["replay", bare, "--tracker", "motsnet", "--reid", reid, "--source", STREET, "--save", "mot", "--quiet"]
    assert main([*late, "-o", str(tmp_path / "late")]) == 0
    assert (tmp_path / "late" / "tracks.txt").read_bytes() == (tmp_path / "first" / "tracks.txt").read_bytes() != b""


@pytest.mark.parametrize("pooling", ["mask-pooling", "box-pooling"])
def test_a_segmenter_describes_its_own_objects(tmp_path: Path, pooling: str) -> None:
    model = ["--model", str(segmenter(tmp_path / "net.onnx")), "--tracker", "motsnet", "--reid", pooling]
    assert run(*model, "--record", str(tmp_path / "run.trk"), "-o", str(tmp_path)) == 0
    assert all(rows.shape == (2, 2) for rows in looks(tmp_path / "run.trk"))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--tracker", "motsnet"], "compares embeddings, which this model does not give; --reid can"),
        (
            ["--tracker", "trackrcnn"],
            "compares embeddings, masks, which this model does not give; --reid and a segmenter",
        ),
        (["--tracker", "motion-deeplab"], "compares offsets, which this model does not give; a Motion-DeepLab can"),
        (["--tracker", "siammot-emm"], "needs --model of SiamMOT's graphs"),
        (["--preset", "kitti"], "tracker 'bytetrack' has no presets, leave --preset out; motsnet, trackrcnn have some"),
        (
            ["--reid", "any.onnx"],
            "'bytetrack' compares no identity vectors, which --reid is for; leave it out, or take",
        ),
        (["--tracker", "botsort+", "--reid", "nowhere.onnx"], "no model file nowhere.onnx"),
        (["--tracker", "motsnet", "--reid", "youtu-reid"], "tracker models pull youtu-reid"),
        (["--tracker", "motsnet", "--reid", "street"], "is of the family 'panoptic-video', not 'reid'"),
        (["--tracker", "motsnet", "--reid", "mask-pooling"], "mask-pooling needs a feature map"),
    ],
)
def test_what_cannot_be(
    argv: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKSTREAM_CACHE", str(tmp_path / "cache"))
    head = graphs.v8_head([[8, 8, 60, 60]], [[0.9]])
    boxes = graphs.planted(tmp_path / "boxes.onnx", {"output0": head}, metadata=graphs.ultralytics(["thing"]))
    assert run("--model", str(boxes), *argv, "-o", str(tmp_path / "out")) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "nothing is touched before it is certain that it can run"


def test_a_recording_has_no_features_and_no_images(
    reid: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "run.trk")
    assert run("--model", "street", "--record", file, "-o", str(tmp_path)) == 0
    again = ["replay", file, "-o", str(tmp_path / "again")]
    for system, asked, said in (
        ("motsnet", "mask-pooling", "no recording holds"),
        ("motsnet", reid, "give their source with --source"),
        ("sort", reid, "tracker 'sort' compares no identity vectors"),
    ):
        assert main([*again, "--tracker", system, "--reid", asked]) == 2
        assert said in capsys.readouterr().err
