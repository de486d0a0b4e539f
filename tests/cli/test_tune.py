"""`tracker tune`: what it searches, what a trial scores, and a whole search where Optuna is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tracker.cli import main
from tracker.cli.course import Course
from tracker.cli.tuning import Parameter, parse_space
from tracker.errors import ConfigError, FormatError
from tracker.evaluation.datasets import COMBINED, evaluate
from tracker.evaluation.sequences import Span
from tracker.formats.mot import read_mot, write_row
from tracker.formats.recording import BareFrame, Header, Recorder
from tracker.systems import SYSTEMS, create
from tracker.types import Detections


@pytest.fixture
def labelled(golden: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Ground truth, and its boxes as detections."""
    truth = golden / "evaluation" / "mot17" / "gt"
    folder = tmp_path / "det"
    folder.mkdir()
    for sequence in truth.iterdir():
        rows = read_mot(sequence / "gt" / "gt.txt")
        lines = [
            write_row(int(frame), -1, box, 0.9) for frame, box in zip(rows.frames, rows.boxes.tolist(), strict=True)
        ]
        (folder / f"{sequence.name}.txt").write_text("".join(lines))
    return truth, folder


def tune(labelled: tuple[Path, Path], *flags: str) -> int:
    return main(["tune", "--gt", str(labelled[0]), "--detections", str(labelled[1]), *flags])


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_has_something_to_search(system: str) -> None:
    space = parse_space(system, ())
    assert space and all(parameter.choices or parameter.low < parameter.high for parameter in space)


def test_values_are_read_by_the_type_of_the_default() -> None:
    texts = (
        "match_iou=0.1..0.6",
        "max_coast_frames=10..60",
        "confirm_once=true|false",
        "motion=xysr|xyah",
        "low_score",
    )
    assert parse_space("bytetrack", texts) == [
        Parameter("match_iou", (), 0.1, 0.6),
        Parameter("max_coast_frames", (), 10, 60, whole=True),
        Parameter("confirm_once", (True, False)),
        Parameter("motion", ("xysr", "xyah")),
        Parameter("low_score", (), 0.0, 0.35),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("iou=0..1", "has no option 'iou'"),
        ("match_iou=0.3", "expected match_iou=low..high, got match_iou=0.3"),
        ("match_iou=a..b", "low..high with numbers"),
        ("match_iou=0.6..0.1", "cannot be searched over 0.6..0.1"),
        ("motion=0..1", "cannot be searched over 0..1"),
        ("motion", "say which values of motion"),
        ("confirm_once=yes|no", "expected confirm_once=true|false, got 'yes'"),
    ],
)
def test_a_space_without_sense_is_one_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_space("bytetrack", [text])


def test_a_trial_scores_what_eval_says_about_its_tracks(labelled: tuple[Path, Path], tmp_path: Path) -> None:
    course = Course("mot17", *labelled, "MOTA", Span("second"))
    assert course.names == ["MOT17-02-SYN", "MOT17-04-SYN", "MOT17-05-SYN"]
    for name in course.names:
        associator = create("sort", match_iou=0.4)
        rows = read_mot(labelled[1] / f"{name}.txt")
        lines = [
            write_row(t, number, box.tolist(), 1.0)
            for t in range(30)
            for number, box in associator.update(rows.detections(t)).confirmed
        ]
        (tmp_path / f"{name}.txt").write_text("".join(lines))
    *_, (_, report) = evaluate("mot17", labelled[0], tmp_path, ["clear"], span=Span("second"))
    expected = report.scores["pedestrian"][COMBINED]["clear"].result()["MOTA"]
    assert course.score("sort", match_iou=0.4) == pytest.approx(expected) and expected > 0


def test_recordings_serve_as_detections(labelled: tuple[Path, Path], tmp_path: Path) -> None:
    name = "MOT17-02-SYN"
    rows = read_mot(labelled[1] / f"{name}.txt")
    header = Header(fps=30.0, class_names=("car", "person"))
    associator = create("sort")
    with Recorder(tmp_path / f"{name}.trk", header) as recorder:
        for t in range(30):
            seen = rows.detections(t)
            seen = Detections(seen.boxes, seen.scores, [1] * len(seen))  # type: ignore[arg-type]
            recorder.write(BareFrame(t, t / 30, 640, 480), associator.update(seen))
    recorded = Course("mot17", labelled[0], tmp_path, "HOTA", Span(), [name]).score("sort")
    assert recorded == pytest.approx(Course("mot17", *labelled, "HOTA", Span(), [name]).score("sort"))


@pytest.mark.parametrize(
    ("dataset", "metric", "words"),
    [
        ("mot18", "HOTA", "cannot tune on 'mot18'; there are mot15"),
        ("mot17", "AP", "no metric 'AP' to be greatest on mot17; there are HOTA"),
    ],
)
def test_unknown_names_are_one_line(labelled: tuple[Path, Path], dataset: str, metric: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Course(dataset, *labelled, metric, Span())


def test_missing_detections_are_named(labelled: tuple[Path, Path]) -> None:
    (labelled[1] / "MOT17-04-SYN.txt").unlink()
    with pytest.raises(FormatError, match="no detections of sequence MOT17-04-SYN"):
        Course("mot17", *labelled, "HOTA", Span())


def test_masks_need_a_recording(golden: Path, labelled: tuple[Path, Path]) -> None:
    with pytest.raises(FormatError, match="holds no masks, but kitti-mots is about masks"):
        Course(
            "kitti-mots",
            golden / "evaluation/kitti_mots/gt/0002.txt",
            labelled[1] / "MOT17-02-SYN.txt",
            "sMOTSA",
            Span(),
        )


def test_without_optuna_it_says_what_to_install(
    labelled: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert tune(labelled) == 2
    assert "tuning needs Optuna: pip install 'trackstream[tune]'" in capsys.readouterr().err


def test_systems_that_look_at_images_are_refused(
    labelled: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    assert tune(labelled, "--tracker", "step-b3") == 2
    assert "looks at images, which stored detections do not have" in capsys.readouterr().err


def test_a_search_goes_on_where_it_stopped(
    labelled: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna = pytest.importorskip("optuna")
    study = tmp_path / "study.db"
    flags = "--tracker", "sort", "--params", "match_iou=0.1..0.7,max_coast_frames=1..5", "--study", str(study)
    assert tune(labelled, *flags, "--trials", "3") == 0
    toml = tmp_path / "best.toml"
    assert tune(labelled, *flags, "--trials", "6", "-o", str(toml)) == 0
    loaded = optuna.load_study(study_name="tracker tune", storage=f"sqlite:///{study}")
    assert len(loaded.trials) == 6
    assert loaded.trials[0].params == {"match_iou": 0.3, "max_coast_frames": 1}  # the defaults come first
    assert (
        'tracker = "sort"' in toml.read_text() and f"match_iou = {loaded.best_params['match_iou']}" in toml.read_text()
    )
    capsys.readouterr()
    assert tune(labelled, *flags, "--metric", "MOTA") == 2
    assert "keeps a search with another metric" in capsys.readouterr().err
