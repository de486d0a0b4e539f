"""The timed metrics: everybody scores the same sequence, and disagreement is not timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import __main__ as command
from bench import evaluation, report, result
from bench.result import BenchError
from tests.bench.test_quality import write_sequence


@pytest.fixture(scope="module")
def case() -> evaluation.Case:
    return evaluation.synthetic(60, 8)


def test_the_synthetic_sequence_is_what_it_says(case: evaluation.Case) -> None:
    assert case.frames == 60 and (np.diff(case.truth.starts) == 8).all()
    assert 8 < len(np.unique(case.truth.ids)) <= 16 and 0.75 < len(case.results.ids) / len(case.truth.ids) < 1.1
    again, other = evaluation.synthetic(60, 8), evaluation.synthetic(60, 8, seed=8)
    assert (case.result_boxes == again.result_boxes).all() and case.result_boxes.shape != other.result_boxes.shape
    scores = evaluation.ours(case)["boxes"]()
    assert 0.5 < scores["MOTA"] < 0.95 and 0.5 < scores["HOTA"] < 0.95 and scores == evaluation.ours(case)["overlaps"]()


@pytest.mark.parametrize("name", evaluation.PEERS)
def test_a_peer_scores_the_same(name: str, case: evaluation.Case) -> None:
    pytest.importorskip(name, exc_type=ImportError)
    own = evaluation.ours(case)["boxes"]()
    for call in evaluation.PEERS[name](case).values():
        assert call() == pytest.approx(own, abs=1e-9)


def test_another_answer_is_not_timed(case: evaluation.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    own = evaluation.ours(case)["boxes"]()
    calls = {evaluation.OURS: lambda: own, "trackeval": lambda: {**own, "IDSW": own["IDSW"] + 1}}
    with pytest.raises(BenchError, match=r"trackeval and ours differ.*'IDSW': 1"):
        evaluation._measure(case, "boxes", calls, 1)
    calls = {evaluation.OURS: lambda: own, "motrics": lambda: {**own, "IDSW": own["IDSW"] + 1}}
    rows = evaluation._measure(case, "boxes", calls, 5)
    assert rows[1]["differs"] == {"IDSW": 1} and "IDSW +1" in report.evaluation(rows)
    calls["motrics"] = lambda: {**own, "HOTA": own["HOTA"] + 0.1}
    with pytest.raises(BenchError, match="HOTA"):
        evaluation._measure(case, "boxes", calls, 5)


def test_files_are_taken_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    write_sequence(tmp_path, "A")
    truth = tmp_path / "gt" / "A" / "gt" / "gt.txt"
    words = ["evaluation", "--gt", str(truth), "--pred", str(truth), "--rounds", "5"]
    assert command.main([*words, "--peers", "-o", str(tmp_path / "x.json")]) == 0
    (row, _) = result.read(tmp_path / "x.json")["rows"]
    assert row["scene"] == "A" and row["figures"]["HOTA"] == row["figures"]["MOTA"] == 1.0

    def absent(case: evaluation.Case) -> evaluation.Calls:
        raise ModuleNotFoundError("No module named 'nothing'")

    monkeypatch.setitem(evaluation.PEERS, "nothing", absent)
    assert command.main([*words, "--peers", "nothing", "-o", str(tmp_path / "x.json")]) == 0
    assert "nothing is absent: No module named 'nothing'" in result.read(tmp_path / "x.json")["notes"]
    for wrong in (["evaluation", "--gt", str(truth)], ["evaluation", "--peers", "other"]):
        assert command.main([*wrong, "-o", str(tmp_path / "x.json")]) == 2
        assert "expected --gt and --pred together" in (text := capsys.readouterr().err) or "no peer 'other'" in text
