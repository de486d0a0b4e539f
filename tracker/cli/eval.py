"""Judge tracking results against ground truth: HOTA, CLEAR, IDF1 and what else the dataset knows.

Ground truth and results are a file each, or folders: `SEQ/gt/gt.txt` or `SEQ.txt` against `SEQ.txt` or
`SEQ/tracks.txt`. Prints a table per class and metric, in percent; `--json` and `--csv` hold all numbers unrounded.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.cli.config import add_flags, load, option
from tracker.errors import ConfigError, SinkError, why

if TYPE_CHECKING:
    from tracker.evaluation.datasets import Report
    from tracker.evaluation.sequences import Span


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Everything `tracker eval` can be told."""

    gt: str | None = option(None, "ground truth: a file, or a folder of sequences")
    pred: str | None = option(None, "results: a file, or a folder with SEQ.txt or SEQ/tracks.txt for every sequence")
    format: str = option(
        "mot17",
        "files and rules: mot15, mot16, mot17, mot20, kitti, kitti-mots, mots-challenge, kitti-step, mot-step, davis, "
        "youtube-vis",
    )
    metrics: tuple[str, ...] = option(
        (),
        "what to compute: hota, clear, identity, mots, mots-strict, stq, vpq, ptq, jf, track-ap (default: what is "
        "usual on the dataset)",
        metavar="LIST",
    )
    half: str | None = option(None, "only this half of every sequence; `second` is MOT17's val half: after n/2+1",
                       choices=("first", "second"))  # fmt: skip
    frames: str | None = option(
        None, "only these frames, as the dataset counts them: 301-600, 301- or -300", metavar="A-B"
    )
    seqmap: str | None = option(None, "file that lists the sequences that count", metavar="FILE")
    sequences: tuple[str, ...] = option((), "names of the sequences that count", metavar="LIST")
    json: str | None = option(None, "write all scores to this file", metavar="FILE")
    csv: str | None = option(None, "likewise as a table, one line per class and sequence", metavar="FILE")
    quiet: bool = option(False, "print the combined scores only")

    def __post_init__(self) -> None:
        for name in ("gt", "pred"):
            if not getattr(self, name):
                raise ConfigError(f"nothing to compare: add --{name} FILE or FOLDER")
        if self.half and self.frames:
            raise ConfigError("--half and --frames both choose frames: give one of them")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("--config", metavar="TOML", help="file with the same names as these flags")
    add_flags(parser, EvalConfig)


def execute(arguments: argparse.Namespace) -> int:
    """Evaluate, print the tables, write the files."""
    from tracker.evaluation.datasets import evaluate

    config = load(EvalConfig, arguments, arguments.config)
    shown = sys.stderr.isatty() and not config.quiet
    report: Report | None = None
    judged = evaluate(
        config.format, Path(config.gt or ""), Path(config.pred or ""), config.metrics, span=_span(config),
        seqmap=Path(config.seqmap) if config.seqmap else None, only=config.sequences,
    )  # fmt: skip
    for sequence, so_far in judged:
        report = so_far
        if shown:
            print(f"\r{sequence.name:<40}", end="", file=sys.stderr, flush=True)
    if shown:
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
    if report is None:
        raise ConfigError(f"no sequence of {config.gt} is to be evaluated")
    print(tables(report, combined_only=config.quiet))
    if config.json:
        _write(config.json, json.dumps(as_data(report, config), indent=1) + "\n")
    if config.csv:
        _write_csv(config.csv, report)
    return 0


def _span(config: EvalConfig) -> Span:
    from tracker.evaluation.sequences import Span

    return Span.parse(config.frames) if config.frames else Span(config.half or "")


def tables(report: Report, *, combined_only: bool = False) -> str:
    """One table per class and metric: a line per sequence, the combined one last. Rates are in percent."""
    from tracker.evaluation import METRICS
    from tracker.evaluation.datasets import COMBINED

    blocks = []
    for class_name, sequences in report.scores.items():
        width = max(len(name) for name in (*sequences, class_name)) + 2
        for metric in sequences[COMBINED]:
            columns = METRICS[metric].columns
            lines = [f"{class_name:<{width}}" + "".join(f"{name:>9}" for name in columns)]
            for name, found in sequences.items():
                if name == COMBINED or not combined_only:
                    scores = found[metric].result()
                    lines.append(f"{name:<{width}}" + "".join(f"{_show(scores[column]):>9}" for column in columns))
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def as_data(report: Report, config: EvalConfig) -> dict[str, Any]:
    """The report for a JSON file: unrounded; numbers that JSON lacks are "nan", "inf" and "-inf"."""
    from tracker.evaluation.hota import ALPHAS

    data: dict[str, Any] = {"schema": "trackstream.evaluation/1", **dataclasses.asdict(config), "classes": {}}
    for name in ("json", "csv", "quiet"):
        del data[name]
    for class_name, sequences in report.scores.items():
        of_class = data["classes"].setdefault(class_name, {})
        for sequence, metrics in sequences.items():
            entry = of_class[sequence] = {name: _plain(metric.result()) for name, metric in metrics.items()}
            for name, metric in metrics.items():
                if hasattr(metric, "curves"):
                    curves = {curve: values.tolist() for curve, values in metric.curves().items()}
                    entry[name]["curves"] = {"alpha": ALPHAS.tolist(), **curves}
    return data


def _write_csv(path: str, report: Report) -> None:
    rows: list[dict[str, Any]] = []
    for class_name, sequences in report.scores.items():
        for sequence, metrics in sequences.items():
            scores = {
                f"{name}.{key}": value for name, metric in metrics.items() for key, value in metric.result().items()
            }
            rows.append({"class": class_name, "sequence": sequence, **scores})
    columns = dict.fromkeys(name for row in rows for name in row)
    try:
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(columns), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {why(error)}") from None


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SinkError(f"cannot write {path}: {why(error)}") from None


def _plain(scores: dict[str, float]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else str(value) for name, value in scores.items()}


def _show(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{100 * value:.3f}"
