"""Benchmarks as rows: how their files are found, and what of them each kind of metric is fed with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tracker.errors import ConfigError
from tracker.evaluation import METRICS
from tracker.evaluation.davis_rules import compare_davis, pair_davis
from tracker.evaluation.kitti_rules import compare_kitti
from tracker.evaluation.metric import Metric
from tracker.evaluation.mot_rules import compare_mot
from tracker.evaluation.mots_rules import compare_mots, pair_mots
from tracker.evaluation.overlaps import Overlaps
from tracker.evaluation.segments import Segments
from tracker.evaluation.sequences import Sequence, Span, find_masks, find_pictures, find_sequences
from tracker.evaluation.step_rules import compare_step
from tracker.formats.class_set import PANOPTIC_SETS, ClassSet
from tracker.formats.youtube_vis import VisTrack, read_results, read_truth

COMBINED = "COMBINED"
ALL = "all classes"

Feed = Callable[[Sequence, Span], Mapping[str, Iterable[tuple[Any, ...]]]]
"""Reads a sequence: class name -> the arguments of one `update` after the other."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One benchmark.

    Attributes:
        metrics: what is computed unless somebody asks for others.
        feeds: kind of metric (`Row.takes`) -> how it gets its input. Kinds that are not here make no sense on it.
        find: pairs of files, called as `find_sequences`.
        classes: what panoptic metrics have to know.
    """

    metrics: tuple[str, ...]
    feeds: Mapping[str, Feed]
    find: Callable[..., list[Sequence]]
    classes: ClassSet | None = None

    def new_metric(self, name: str) -> Metric:
        """An empty object of a metric of `METRICS`, for this benchmark."""
        row = METRICS[name]
        return row.metric(self.classes) if row.takes == "panoptic" else row.metric()


@dataclass(slots=True)
class Report:
    """Scores: `scores[class][sequence][metric]`; the sequence `COMBINED` is all of them together."""

    scores: dict[str, dict[str, dict[str, Metric]]] = field(default_factory=dict)

    def add(self, class_name: str, sequence: str, metrics: dict[str, Metric], empty: Callable[[str], Metric]) -> None:
        """Take one finished sequence and add it to the combined ones."""
        of_class = self.scores.setdefault(class_name, {})
        combined = of_class.pop(COMBINED, None) or {name: empty(name) for name in metrics}
        for name, metric in metrics.items():
            combined[name].merge(metric)
        of_class[sequence] = metrics
        of_class[COMBINED] = combined


def evaluate(
    dataset: str,
    truth: Path,
    results: Path,
    metrics: Collection[str] = (),
    *,
    span: Span | None = None,
    seqmap: Path | None = None,
    only: Collection[str] = (),
) -> Iterator[tuple[Sequence, Report]]:
    """Judge results, sequence by sequence.

    Args:
        dataset: a name of `DATASETS`.
        truth: file or folder of ground truth.
        results: file or folder of results.
        metrics: names of `METRICS`; none for those that are usual on the dataset.
        span: the frames that count, by default all.
        seqmap: file that lists the sequences, by default all that have ground truth.
        only: names of sequences that count, by default all.

    Yields:
        After every sequence: it, and the report on all so far (always the same object).

    Raises:
        ConfigError: an unknown dataset or metric, or one that does not fit the dataset.
        FormatError: a file is missing or broken.
    """
    if dataset not in DATASETS:
        raise ConfigError(f"no dataset format {dataset!r}; there are {', '.join(DATASETS)}")
    row = DATASETS[dataset]
    names = list(dict.fromkeys(metrics or row.metrics))
    for name in names:
        if name not in METRICS:
            raise ConfigError(f"no metric {name!r}; there are {', '.join(METRICS)}")
        if METRICS[name].takes not in row.feeds:
            fitting = [other for other, metric in METRICS.items() if metric.takes in row.feeds]
            raise ConfigError(f"metric {name!r} is not defined on {dataset}; it has {', '.join(fitting)}")

    report = Report()
    for sequence in row.find(truth, results, seqmap=seqmap, only=only):
        found: dict[str, dict[str, Metric]] = {}
        for kind, feed in row.feeds.items():
            wanted = [name for name in names if METRICS[name].takes == kind]
            if not wanted:
                continue
            for class_name, arguments in feed(sequence, span or Span()).items():
                fresh = {name: row.new_metric(name) for name in wanted}
                for each in arguments:
                    for metric in fresh.values():
                        UPDATES[kind](metric, *each)
                found.setdefault(class_name, {}).update(fresh)
        for class_name, done in found.items():
            report.add(class_name, sequence.name, {name: done[name] for name in names if name in done}, row.new_metric)
        yield sequence, report


UPDATES: dict[str, Callable[..., None]] = {
    "overlaps": lambda metric, overlaps: metric.update(overlaps),
    "masks": lambda metric, *pair: metric.update(*pair),
    "contours": lambda metric, *sides: metric.update(*sides),
    "panoptic": lambda metric, segments: metric.add(segments),  # compared once for all of them
    "tracks": lambda metric, truth, results: metric.update(truth, results),
}
"""Kind of metric -> how it takes what its feed gives."""


def _whole(overlaps: dict[str, Overlaps]) -> dict[str, list[tuple[Overlaps]]]:
    """Metrics of overlaps take a whole sequence in one update."""
    return {name: [(of_class,)] for name, of_class in overlaps.items()}


def _mot(benchmark: str) -> Dataset:
    feeds: dict[str, Feed] = {"overlaps": lambda sequence, span: _whole(compare_mot(sequence, span, benchmark))}
    return Dataset(_BOXES, feeds, partial(find_sequences, own_name="tracks.txt"))


def _mots(benchmark: str) -> Dataset:
    feeds: dict[str, Feed] = {
        "overlaps": lambda sequence, span: _whole(compare_mots(sequence, span, benchmark)),
        "masks": lambda sequence, span: pair_mots(sequence, span, benchmark),
    }
    return Dataset(("hota", "mots", "identity"), feeds, find_masks)


def _step(benchmark: str) -> Dataset:
    def feed(sequence: Sequence, span: Span) -> dict[str, Iterator[tuple[Segments]]]:
        return {ALL: ((segments,) for segments in compare_step(sequence, span, benchmark))}

    return Dataset(("stq", "vpq", "ptq"), {"panoptic": feed}, find_pictures, PANOPTIC_SETS[benchmark])


def _find_vis(truth: Path, results: Path, *, seqmap: Path | None, only: Collection[str]) -> list[Sequence]:
    """YouTube-VIS keeps all videos in one file."""
    if seqmap is not None or only:
        raise ConfigError("a YouTube-VIS file is evaluated as a whole: --seqmap and --sequences do not apply")
    return [Sequence(truth.stem, truth, results)]


def _feed_vis(sequence: Sequence, span: Span) -> dict[str, Iterator[tuple[list[VisTrack], list[VisTrack]]]]:
    if span != Span():
        raise ConfigError("YouTube-VIS judges whole tracks: --frames and --half do not apply")
    truth = read_truth(sequence.truth)
    results = read_results(sequence.results, truth)

    def videos() -> Iterator[tuple[list[VisTrack], list[VisTrack]]]:
        for number in truth.videos:
            of_video = [[track for track in side if track.video == number] for side in (truth.tracks, results)]
            yield of_video[0], of_video[1]

    return {ALL: videos()}


_BOXES = ("hota", "clear", "identity")

DATASETS: dict[str, Dataset] = {
    **{name: _mot(name) for name in ("mot15", "mot16", "mot17", "mot20")},
    "kitti": Dataset(
        _BOXES,
        {"overlaps": lambda sequence, span: _whole(compare_kitti(sequence, span))},
        partial(find_sequences, own_name="kitti.txt", last_counts=False),
    ),
    "kitti-mots": _mots("kitti-mots"),
    "mots-challenge": _mots("mots-challenge"),
    "kitti-step": _step("kitti-step"),
    "mot-step": _step("mot-step"),
    "davis": Dataset(
        ("jf", *_BOXES),
        {"overlaps": lambda sequence, span: _whole(compare_davis(sequence, span)), "contours": pair_davis},
        find_pictures,
    ),
    "youtube-vis": Dataset(("track-ap",), {"tracks": _feed_vis}, _find_vis),
}
"""Name on the command line -> benchmark."""
