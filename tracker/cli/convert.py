"""Rewrite a dataset's files in another format.

IN and OUT are a file, or for pictures a folder, of one sequence; or a folder of such sequences. What a format does not
hold cannot be made up: panoptic pictures give masks, masks give boxes, never the other way. `tracker convert --list`
says which formats there are.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from tracker.cli.overwriting import refuse_inputs
from tracker.errors import ConfigError, FormatError, SinkError, why

if TYPE_CHECKING:
    from tracker.formats import Format, FrameObjects, Reading, Writer

_RANK = {"boxes": 0, "masks": 1, "panoptic": 2}
_QUIET_S = 1.0  # a conversion that is done by then shows no progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("input", nargs="?", metavar="IN", help="file or folder to read")
    parser.add_argument("output", nargs="?", metavar="OUT", help="file or folder to write")
    parser.add_argument("--from", dest="source", metavar="FORMAT", help="format of IN")
    parser.add_argument("--to", dest="target", metavar="FORMAT", help="format of OUT")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="class of all objects that IN gives none")
    parser.add_argument("--frames", type=int, metavar="N", help="frames of a sequence whose text file ends earlier")
    parser.add_argument("--two-channel", action="store_true", help="STEP pictures of IN have the id in green alone")
    parser.add_argument("--truth", type=Path, metavar="JSON", help="ground truth that names the classes of results")
    parser.add_argument("--list", action="store_true", help="list the formats and what each can become")


def execute(arguments: argparse.Namespace) -> int:
    """Convert and say what was written."""
    from tracker.formats import FORMATS, Reading

    if arguments.list:
        print(_table(FORMATS))
        return 0
    if None in (arguments.input, arguments.output, arguments.source, arguments.target):
        raise ConfigError("expected IN OUT --from FORMAT --to FORMAT; `tracker convert --list` names the formats")
    if arguments.frames is not None and arguments.frames < 1:
        raise ConfigError(f"frames must be at least 1, got {arguments.frames}")
    how = Reading(arguments.frames, arguments.two_channel, arguments.truth)
    done = convert(
        Path(arguments.input), Path(arguments.output), arguments.source, arguments.target, how, arguments.class_name,
    )  # fmt: skip
    print(done.text(arguments.target))
    return 0


@dataclass
class Done:
    """What a conversion did."""

    path: Path
    sequences: int = 0
    frames: int = 0
    objects: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def text(self, target: str) -> str:
        """One line, or two if something was left out."""
        counts = [(self.sequences, "sequence"), (self.frames, "frame"), (self.objects, "object")]
        text = f"wrote {self.path}: " + ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counts)
        if self.left_out:
            text += f"\nleft out: {self.missing(target)}"
        return text

    def missing(self, target: str) -> str:
        """Which classes the format does not have, with the number of their objects."""
        names = ", ".join(f"{name} ({n})" for name, n in self.left_out.most_common(6) if name)
        parts = [f"{target} has no class {names}"] if names else []
        if self.left_out[""]:
            parts.append(f"{self.left_out['']} objects have no class, add --class NAME")
        return "; ".join(parts)


def convert(
    source: Path, output: Path, source_format: str, target_format: str, how: Reading, class_name: str | None = None
) -> Done:
    """Rewrite one sequence or a folder of them; OUT appears whole or not at all.

    Args:
        source: file or folder to read.
        output: file or folder to write; a file is replaced, a folder with files in it is refused.
        source_format: a name of `FORMATS`.
        target_format: likewise.
        how: options of the reader.
        class_name: class of all objects that the source names none.

    Raises:
        ConfigError: an unknown format, or one that cannot be made from the other.
        FormatError: a file of the source that cannot be used.
        SinkError: the output cannot be written.
    """
    from tracker.formats import FORMATS

    for name in (source_format, target_format):
        if name not in FORMATS:
            raise ConfigError(f"no format {name!r}; there are {', '.join(FORMATS)}")
    _check_pair(FORMATS, source_format, target_format, class_name)
    target = FORMATS[target_format]
    found = find_sequences(FORMATS[source_format], source, how)
    many = len(found) > 1 or (source.is_dir() and not _is_sequence(FORMATS[source_format], source))
    as_folder = target.suffix == "" or (many and target.videos is None)
    if as_folder and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output} exists already; remove it or name another folder")
    if not as_folder and output.is_dir():
        raise ConfigError(f"{output} is a folder; name a file, as {output / ('out' + target.suffix)}")
    refuse_inputs([output], _inputs(FORMATS[source_format], source, how))
    done = Done(output)
    progress = _Progress()
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.absolute().parent) as scratch:
            place = Path(scratch) / output.name
            if many and target.videos is None:
                place.mkdir()
                for name, frames in found.items():
                    _write(target, place / f"{name}{target.suffix}", {name: frames}, class_name, done, progress)
            else:
                _write(target, place, found, class_name, done, progress)
            if done.frames == 0:
                raise FormatError(f"{source} holds no frame: nothing was written")
            if done.left_out and not done.objects:
                raise ConfigError(f"none of the objects can be written: {done.missing(target_format)}")
            for made in Path(scratch).iterdir():
                _move(made, output.absolute().parent / made.name)
    except OSError as error:
        if isinstance(error, SinkError):
            raise
        raise SinkError(f"cannot write {output}: {why(error)}") from None
    finally:
        progress.close()
    return done


def find_sequences(form: Format, path: Path, how: Reading) -> Mapping[str, Callable[[], Iterator[FrameObjects]]]:
    """Sequences of a file or folder by name, in order; each is read when it is called.

    Raises:
        FormatError: there is none.
    """
    if form.videos is not None and path.is_file():
        return {name: _given(frames) for name, frames in form.videos(path, how).items()}
    if _is_sequence(form, path):
        return {path.stem if form.suffix else path.resolve().name: lambda: form.read(path, how)}
    if not path.is_dir():
        raise FormatError(f"nothing to read at {path}: no such file or folder")
    files = _files(form, path)
    if not files:
        raise FormatError(f"nothing to read in {path}: expected {form.suffix or 'folders of .png'} files")
    named = {file.parts[len(path.parts)]: file for file in files}  # SEQ/gt/gt.txt, SEQ.txt or the folder SEQ
    return {name.removesuffix(form.suffix): _reader(form, file, how) for name, file in named.items()}


def _files(form: Format, path: Path) -> list[Path]:
    """Files, or for pictures folders, of the sequences that a path means."""
    if path.is_file() or _is_sequence(form, path):
        return [path]
    if not form.suffix:
        return [folder for folder in sorted(path.iterdir()) if _is_sequence(form, folder)]
    beside = sorted(path.glob(f"*{form.suffix}"))
    if beside or form.suffix != ".txt":
        return beside
    return sorted([*path.glob("*/gt/gt.txt"), *path.glob("*/gt.txt")])


def _inputs(form: Format, path: Path, how: Reading) -> Iterator[Path]:
    """Every file that a conversion reads."""
    for file in _files(form, path):
        yield from file.glob("*.png") if file.is_dir() else [file]
    if how.truth is not None:
        yield how.truth


def _is_sequence(form: Format, path: Path) -> bool:
    return path.is_file() if form.suffix else path.is_dir() and any(path.glob("*.png"))


def _reader(form: Format, path: Path, how: Reading) -> Callable[[], Iterator[FrameObjects]]:
    return lambda: form.read(path, how)


def _given(frames: Iterator[FrameObjects]) -> Callable[[], Iterator[FrameObjects]]:
    return lambda: frames


def _write(
    target: Format,
    path: Path,
    sequences: Mapping[str, Callable[[], Iterator[FrameObjects]]],
    class_name: str | None,
    done: Done,
    progress: _Progress,
) -> None:
    """Write sequences into one output, several only where the format holds several."""
    from tracker.formats.frame_objects import IGNORED
    from tracker.formats.youtube_vis import VisWriter

    writer: Writer = target.open(path)
    try:
        for name, frames in sequences.items():
            if isinstance(writer, VisWriter):
                writer.begin(name)
            done.sequences += 1
            for frame in frames():
                named = _name(frame, class_name)
                known = [n in target.classes if target.classes else n != IGNORED for n in named.names]
                done.frames += 1
                done.objects += sum(known)
                done.left_out.update(n for n, yes in zip(named.names, known, strict=True) if not yes)
                writer.write(named)
                progress(done.frames, name)
    finally:
        writer.close()


def _name(frame: FrameObjects, class_name: str | None) -> FrameObjects:
    """The frame with a class for its nameless objects."""
    if class_name is None:
        return frame
    every = frame.names_of_all if class_name in frame.names_of_all else (*frame.names_of_all, class_name)
    return replace(frame, names=[name or class_name for name in frame.names], names_of_all=every)


def _move(made: Path, place: Path) -> None:
    """Put a finished output in its place; of folders only an empty one gives way."""
    if place.is_dir():
        if any(place.iterdir()):
            raise SinkError(f"cannot write {place}: it exists already; remove it or name another output")
        place.rmdir()
    os.replace(made, place)


def _table(formats: Mapping[str, Format]) -> str:
    lines = [f"{'format':<20}{'holds':<10}{'is':<9}about"]
    lines += [f"{name:<20}{f.holds:<10}{f.suffix or 'folder':<9}{f.about}" for name, f in formats.items()]
    return "\n".join([*lines, "", "panoptic becomes panoptic, masks or boxes; masks become masks or boxes"])


def _possible(formats: Mapping[str, Format], source: str) -> list[str]:
    return [name for name, form in formats.items() if _RANK[form.holds] <= _RANK[formats[source].holds]]


def _check_pair(formats: Mapping[str, Format], source: str, target: str, class_name: str | None) -> None:
    possible = _possible(formats, source)
    if target not in possible:
        raise ConfigError(
            f"cannot make {target} ({formats[target].holds}) from {source} ({formats[source].holds}); possible are "
            + ", ".join(possible)
        )
    if formats[source].classes == frozenset() and formats[target].classes and class_name is None:
        raise ConfigError(f"{source} says no class, {target} needs one: add --class NAME, as --class person")
    allowed = formats[target].classes
    if class_name is not None and allowed and class_name not in allowed:
        raise ConfigError(f"{target} has no class {class_name!r}; it has {', '.join(sorted(allowed))}")


class _Progress:
    """A line on stderr, where that is a terminal, once a conversion takes longer than a second."""

    def __init__(self) -> None:
        self._next = monotonic() + _QUIET_S
        self._shown = False

    def __call__(self, frames: int, name: str) -> None:
        if monotonic() >= self._next and sys.stderr.isatty():
            self._next = monotonic() + 0.1
            self._shown = True
            print(f"\r{name}: {frames} frames   ", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._shown:
            print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
