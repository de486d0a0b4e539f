"""Which files belong together, and which frames count."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracker.errors import ConfigError, FormatError
from tracker.evaluation.sequences import Span, find_masks, find_pictures, find_sequences, read_seqmap


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    return root


def pairs(truth: Path, results: Path, **options: object) -> list[tuple[str, str, str]]:
    found = find_sequences(truth, results, own_name="tracks.txt", **options)  # type: ignore[arg-type]
    return [(each.name, str(each.truth.relative_to(truth)), str(each.results.relative_to(results))) for each in found]


@pytest.mark.parametrize("truth", ["A/gt/gt.txt", "A/gt.txt", "A.txt", "label_02/A.txt", "instances_txt/A.txt"])
@pytest.mark.parametrize("result", ["A.txt", "data/A.txt", "A/tracks.txt", "tracks.txt"])
def test_the_usual_trees_are_known(tmp_path: Path, truth: str, result: str) -> None:
    found = pairs(make(tmp_path / "gt", truth), make(tmp_path / "pred", result))
    assert found == [("A", truth, result)]


def test_a_folder_may_be_one_sequence(tmp_path: Path) -> None:
    assert pairs(make(tmp_path / "A", "gt/gt.txt"), make(tmp_path, "A.txt")) == [("A", "gt/gt.txt", "A.txt")]


def test_own_files_of_several_sequences_stand_in_folders(tmp_path: Path) -> None:
    truth = make(tmp_path / "gt", "A.txt", "B.txt")
    with pytest.raises(FormatError, match=r"no results for sequence A in .*expected A.txt or"):
        pairs(truth, make(tmp_path / "pred", "tracks.txt"))
    with pytest.raises(FormatError, match="is one file, but there are several sequences: name a folder"):
        find_sequences(truth, tmp_path / "pred" / "tracks.txt", own_name="tracks.txt")


def test_the_length_stands_beside_the_truth_or_in_the_seqmap(tmp_path: Path) -> None:
    truth, results = make(tmp_path / "gt", "0002/gt/gt.txt"), make(tmp_path / "pred", "0002.txt")
    (truth / "0002" / "seqinfo.ini").write_text("[Sequence]\nseqLength=17\n")
    assert find_sequences(truth, results, own_name="x")[0].length == 17
    seqmap = tmp_path / "map"
    seqmap.write_text("0002 empty 000000 000232\n")
    assert find_sequences(truth, results, own_name="x", seqmap=seqmap)[0].length == 233
    assert read_seqmap(seqmap, last_counts=False) == {"0002": 232}


@pytest.mark.parametrize(
    ("text", "words"),
    [("a b\n", "line 1: expected a name, or `name empty first last`"), ("name\n", "names no sequence")],
)
def test_a_broken_seqmap_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "map").write_text(text)
    with pytest.raises(FormatError, match=words):
        read_seqmap(tmp_path / "map")


def test_folders_of_pictures(tmp_path: Path) -> None:
    truth, results = make(tmp_path / "gt", "A/0.png", "B/0.png"), make(tmp_path / "pred", "A/0.png")
    with pytest.raises(FormatError, match="no results for sequence B"):
        find_pictures(truth, results)
    assert [each.name for each in find_pictures(truth, results, only=["A"])] == ["A"]
    assert find_masks(truth / "A", results / "A")[0].results == results / "A"
    with pytest.raises(FormatError, match="expected a folder of PNG files for each sequence"):
        find_pictures(tmp_path / "pred" / "A" / "0.png", results)


@pytest.mark.parametrize(
    ("span", "frames"),
    [
        (Span(), (0, 10)), (Span("first"), (0, 6)), (Span("second"), (6, 10)), (Span.parse("3-5"), (2, 5)),
        (Span.parse("9-"), (8, 10)), (Span.parse("-4"), (0, 4)), (Span.parse("20-30"), (10, 10)),
    ],
)  # fmt: skip
def test_spans_count_as_the_dataset_does(span: Span, frames: tuple[int, int]) -> None:
    assert span.resolve(10, first_frame=1) == frames


@pytest.mark.parametrize("text", ["", "-", "5", "a-b", "5-3", "1-2-3"])
def test_a_span_without_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected frames"):
        Span.parse(text)


def test_nothing_of_an_empty_sequence() -> None:
    assert Span("second").resolve(0, 1) == (0, 0) == Span().resolve(0, 1)
