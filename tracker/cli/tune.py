"""Search the parameters of a system that track labelled sequences best.

The detections are stored (public `det.txt` files, or `.trk` recordings of `tracker run --record`), so that a trial is
nothing but association and scoring; benchmarks of masks and panoptic pictures need recordings. Every trial is kept in
the study file: the same command goes on where it stopped. On kitti-step and mot-step a panoptic network's recording is
judged as its pictures; one of masks alone as its tracks on void, so its STQ compares trials and nothing else.
Needs Optuna: pip install 'trackstream[tune]'.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.cli.config import add_flags, load, option
from tracker.errors import ConfigError, SinkError, why

if TYPE_CHECKING:
    from tracker.cli.course import Course
    from tracker.cli.tuning import Parameter


@dataclasses.dataclass(frozen=True)
class TuneConfig:
    """Everything `tracker tune` can be told; a TOML file uses the same names."""

    gt: str | None = option(None, "ground truth: a file, or a folder of sequences")
    detections: str | None = option(
        None, "stored detections: a file, or a folder of SEQ.trk, SEQ.txt or SEQ/det/det.txt"
    )
    tracker: str = option("bytetrack", "system whose parameters are searched, see `tracker systems`")
    params: tuple[str, ...] = option(
        (), "what to search: name, name=0.1..0.6, name=a|b (default: the system's own thresholds)", metavar="LIST"
    )
    set: dict[str, Any] = option({}, "keep a parameter of the system at this value", metavar="NAME=VALUE")
    metric: str | None = option(
        None, "score to be greatest: HOTA, AssA, MOTA, IDF1, sMOTSA, STQ, AP ... (default: the dataset's usual one)"
    )
    trials: int = option(100, "trials in the study, earlier ones included", parse=int)
    format: str = option("mot17", "dataset whose files and rules these are, as in `tracker eval`")
    half: str | None = option(
        None, "score only this half of every sequence, as `tracker eval`", choices=("first", "second")
    )
    sequences: tuple[str, ...] = option((), "names of the sequences that count", metavar="LIST")
    study: str = option("tune.db", "file that keeps the trials")
    seed: int = option(0, "start of the search's random numbers", parse=int)
    output: str | None = option(None, "write the TOML here instead of printing it", short="-o", metavar="FILE")
    quiet: bool = option(False, "no progress line")

    def __post_init__(self) -> None:
        for name in ("gt", "detections"):
            if not getattr(self, name):
                raise ConfigError(f"nothing to learn from: add --{name} FILE or FOLDER")
        if self.trials < 1:
            raise ConfigError(f"trials must be at least 1, got {self.trials}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("--config", metavar="TOML", help="file with the same names as these flags")
    add_flags(parser, TuneConfig)


def execute(arguments: argparse.Namespace) -> int:
    """Search, then print what `tracker run --config` takes."""
    config = load(TuneConfig, arguments, arguments.config)
    optuna = _optuna()
    from tracker.cli.course import Course, qualities
    from tracker.cli.tuning import parse_space
    from tracker.evaluation.sequences import Span
    from tracker.systems import plan

    config = dataclasses.replace(config, metric=config.metric or next(iter(qualities(config.format))))
    space = parse_space(config.tracker, config.params)
    if twice := [parameter.name for parameter in space if parameter.name in config.set]:
        raise ConfigError(f"{twice[0]} is both searched and set to a value: give one of them")
    chosen = plan(config.tracker, **config.set)  # a value that the system refuses ends here, not in every trial
    if chosen.flow != "none":
        raise ConfigError(f"tracker {config.tracker!r} looks at images, which stored detections do not have")
    course = Course(
        config.format,
        Path(str(config.gt)),
        Path(str(config.detections)),
        str(config.metric),
        Span(config.half or ""),
        config.sequences,
    )
    study = _open_study(optuna, config, space)
    code = 0
    try:
        _search(optuna, study, config, space, course)
    except KeyboardInterrupt:
        print(f"tracker: interrupted; the same command goes on from {config.study}", file=sys.stderr)
        code = 130
    if _best(optuna, study) is None:
        if code:
            return code
        raise ConfigError("no trial gave a score: the searched values never go together")
    text = as_toml(config, study.best_params, study.best_value, len(_done(optuna, study)))
    if config.output:
        try:
            Path(config.output).write_text(text, encoding="utf-8")
        except OSError as error:
            raise SinkError(f"cannot write {config.output}: {why(error)}") from None
    else:
        print(text, end="")
    return code


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise ConfigError("tuning needs Optuna: pip install 'trackstream[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _open_study(optuna: Any, config: TuneConfig, space: list[Parameter]) -> Any:
    """The study of this very search, new or to be continued; its first trial is the system's defaults."""
    from tracker.systems import options

    path = Path(config.study)
    if not path.parent.is_dir():
        raise ConfigError(f"cannot keep trials in {config.study}: no folder {path.parent}")
    facts = json.loads(json.dumps({
        **{name: getattr(config, name) for name in ("tracker", "set", "metric", "format", "half", "sequences")},
        "gt": str(Path(config.gt or "").resolve()), "detections": str(Path(config.detections or "").resolve()),
        "space": [dataclasses.asdict(each) for each in space],
    }))  # fmt: skip
    study = optuna.create_study(
        study_name="tracker tune", storage=f"sqlite:///{path}", direction="maximize", load_if_exists=True
    )
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    if not study.trials:
        study.set_user_attr("search", facts)
        known = options(config.tracker)
        defaults = {each.name: known[each.name][0] for each in space}
        study.enqueue_trial(defaults, skip_if_exists=True)
    elif study.user_attrs.get("search") != facts:
        before = study.user_attrs.get("search", {})
        other = next(name for name in facts if before.get(name) != facts[name])
        raise ConfigError(f"{config.study} keeps a search with another {other}; give this one its own --study FILE")
    return study


def _search(optuna: Any, study: Any, config: TuneConfig, space: list[Parameter], course: Course) -> None:
    progress = Progress(config, len(_done(optuna, study)))

    def objective(trial: Any) -> float:
        values = {parameter.name: _suggest(trial, parameter) for parameter in space}
        try:
            return course.score(config.tracker, **config.set, **values)
        except ConfigError as error:  # values that do not go together, such as low_score above high_score
            raise optuna.TrialPruned(str(error)) from None

    try:
        study.optimize(
            objective, n_trials=max(0, config.trials - len(_done(optuna, study))),
            callbacks=[lambda study, _: progress(len(_done(optuna, study)), _best(optuna, study))],
        )  # fmt: skip
    finally:
        progress.close()


def _suggest(trial: Any, parameter: Parameter) -> Any:
    if parameter.choices:
        return trial.suggest_categorical(parameter.name, list(parameter.choices))
    if parameter.whole:
        return trial.suggest_int(parameter.name, int(parameter.low), int(parameter.high))
    return trial.suggest_float(parameter.name, parameter.low, parameter.high)


def _done(optuna: Any, study: Any) -> list[Any]:
    """Trials that came to an end, pruned ones included."""
    return [trial for trial in study.trials if trial.state in (optuna.trial.TrialState.COMPLETE,
                                                               optuna.trial.TrialState.PRUNED)]  # fmt: skip


def _best(optuna: Any, study: Any) -> float | None:
    scores = [trial.value for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    return max(scores, default=None)


class Progress:
    """Draws `[####    ]  37/100 trials  best HOTA 67.52  1.1 s a trial`; nothing where stderr is not a terminal."""

    def __init__(self, config: TuneConfig, done: int) -> None:
        self._shown = not config.quiet and sys.stderr.isatty()
        self._metric, self._total, self._first = config.metric, config.trials, done
        self._start = time.monotonic()
        if self._shown:
            print("compiling (a first run takes some seconds) ...", end="", file=sys.stderr, flush=True)

    def __call__(self, done: int, best: float | None) -> None:
        """Draw the line anew after a trial."""
        if not self._shown:
            return
        pace = (time.monotonic() - self._start) / max(1, done - self._first)
        bar = "#" * min(24, done * 24 // self._total)
        score = "" if best is None else f"best {self._metric} {100 * best:.3f}  "
        line = f"[{bar:<24}] {done}/{self._total} trials  {score}{pace:.1f} s a trial"
        print(f"\r{line:<78}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the line."""
        if self._shown:
            print("\r" + " " * 78 + "\r", end="", file=sys.stderr, flush=True)


def as_toml(config: TuneConfig, values: Mapping[str, Any], score: float, trials: int) -> str:
    """What `tracker run --config` takes."""
    lines = [
        f"# {config.metric} {100 * score:.3f} after {trials} trials of `tracker tune` on {config.format}",
        f"tracker = {json.dumps(config.tracker)}",
        "",
        "[set]",
        *(f"{name} = {json.dumps(value)}" for name, value in {**config.set, **values}.items()),
    ]
    return "\n".join(lines) + "\n"
