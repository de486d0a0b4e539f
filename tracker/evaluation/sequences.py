"""Which file of ground truth belongs to which file of results, and which frames of them count."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tracker.errors import ConfigError, FormatError
from tracker.formats.rows import lines_of
from tracker.formats.seqinfo import read_length

_TRUTH = ("*/gt/gt.txt", "*/gt.txt", "*.txt", "label_02/*.txt", "instances_txt/*.txt", "gt/*.txt")


@dataclass(frozen=True, slots=True)
class Sequence:
    """One video with its two files (or folders).

    Attributes:
        name: of the sequence.
        truth: ground truth.
        results: what is judged.
        length: frames there are, from `seqinfo.ini` or a seqmap; None where nobody says.
    """

    name: str
    truth: Path
    results: Path
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A part of every sequence, by default all of it.

    Attributes:
        half: `first`, `second` or empty. The second half of MOT17 "val half" begins after frame number n // 2 + 1 of n
            (counted from 1), as ByteTrack and the papers after it split the training sequences.
        first: number of the first frame, counted as the dataset counts.
        last: number of the last one.
    """

    half: str = ""
    first: int | None = None
    last: int | None = None

    @classmethod
    def parse(cls, text: str) -> Span:
        """From `301-600`, `301-` or `-300`.

        Raises:
            ConfigError: anything else.
        """
        first, dash, last = text.partition("-")
        if not dash or not (first or last) or not all(part.strip().isdecimal() for part in (first, last) if part):
            raise ConfigError(f"expected frames as 301-600, 301- or -600, got {text!r}")
        span = cls("", int(first) if first else None, int(last) if last else None)
        if span.first is not None and span.last is not None and span.last < span.first:
            raise ConfigError(f"expected frames in ascending order, got {text!r}")
        return span

    def resolve(self, length: int, first_frame: int) -> tuple[int, int]:
        """Frames [begin, end) counted from 0, of a sequence of this length whose first frame has this number."""
        begin, end = 0, length
        if self.half:
            middle = min(length // 2 + 1, length)
            begin, end = (0, middle) if self.half == "first" else (middle, length)
        if self.first is not None:
            begin = max(begin, self.first - first_frame)
        if self.last is not None:
            end = min(end, self.last - first_frame + 1)
        return min(begin, end), end


def find_sequences(
    truth: Path,
    results: Path,
    *,
    own_name: str,
    seqmap: Path | None = None,
    only: Collection[str] = (),
    last_counts: bool = True,
) -> list[Sequence]:
    """Pair the text files of a dataset.

    Args:
        truth: one file; a sequence's folder; or a folder of `SEQ/gt/gt.txt`, `SEQ/gt.txt`, `SEQ.txt`,
            `label_02/SEQ.txt` or `instances_txt/SEQ.txt`.
        results: one file; or a folder of `SEQ.txt`, `data/SEQ.txt` or `SEQ/<own_name>`.
        own_name: what `tracker run` calls its file: `tracks.txt` or `masks.txt`.
        seqmap: list of the sequences that count, with lengths in KITTI's form; by default all that have truth.
        only: names of the sequences that count; empty for all.
        last_counts: as in `read_seqmap`.

    Raises:
        FormatError: no ground truth, no results for a sequence, or a broken seqmap or seqinfo.ini.
    """
    truths = find_truth(truth)
    lengths: dict[str, int | None] = (
        dict.fromkeys(truths) if seqmap is None else read_seqmap(seqmap, last_counts=last_counts)
    )
    names = [name for name in lengths if not only or name in only]
    if missing := [name for name in [*lengths, *only] if name not in truths]:
        raise FormatError(f"no ground truth for sequence {missing[0]} in {truth}")
    pairs = []
    for name in names:
        path = _find_results(name, results, own_name, alone=len(names) == 1)
        length = lengths[name] if lengths[name] is not None else stated_length(truths[name])
        pairs.append(Sequence(name, truths[name], path, length))
    return pairs


def find_pictures(
    truth: Path, results: Path, *, seqmap: Path | None = None, only: Collection[str] = ()
) -> list[Sequence]:
    """Pair the folders of PNG files of a dataset: `SEQ/*.png` against `SEQ/*.png`, or one folder against one.

    Raises:
        FormatError: no ground truth, or no results for a sequence.
    """
    truths = find_picture_folders(truth)
    names = list(truths if seqmap is None else read_seqmap(seqmap))
    if missing := [name for name in [*names, *only] if name not in truths]:
        raise FormatError(f"no ground truth for sequence {missing[0]} in {truth}")
    pairs = []
    for name in (name for name in names if not only or name in only):
        folder = results if len(names) == 1 and any(results.glob("*.png")) else results / name
        if not folder.is_dir():
            raise FormatError(
                f"no results for sequence {name} in {results}: expected a folder {name} of PNG files there"
            )
        pairs.append(Sequence(name, truths[name], folder))
    return pairs


def find_masks(truth: Path, results: Path, *, seqmap: Path | None = None, only: Collection[str] = ()) -> list[Sequence]:
    """Pair the sequences of a MOTS dataset, which come as text files, or on both sides as folders of PNG files."""
    pictures = [not path.is_file() and not any(path.rglob("*.txt")) for path in (truth, results)]
    if all(pictures):
        return find_pictures(truth, results, seqmap=seqmap, only=only)
    return find_sequences(truth, results, own_name="masks.txt", seqmap=seqmap, only=only)


def find_picture_folders(truth: Path) -> dict[str, Path]:
    """Sequence -> folder of its PNG files.

    Raises:
        FormatError: there is none.
    """
    if any(truth.glob("*.png")):
        return {truth.resolve().name: truth}
    found = {path.name: path for path in sorted(truth.glob("*")) if any(path.glob("*.png"))}
    if not found:
        raise FormatError(f"no ground truth in {truth}: expected a folder of PNG files for each sequence")
    return found


def read_seqmap(path: Path, *, last_counts: bool = True) -> dict[str, int | None]:
    """Sequences of a seqmap: MOTChallenge's (a header, then names) or KITTI's (`0002 empty 000000 000232`).

    Args:
        path: text file.
        last_counts: KITTI's last number is that of the last frame, as in the files of MOTS; in those of KITTI's own
            tracking benchmark it is the number after it.

    Returns:
        Name -> frames there are, None in MOTChallenge's form.

    Raises:
        FormatError: a line of neither form, or no sequence at all.
    """
    table: dict[str, int | None] = {}
    for line, text in lines_of(path):
        fields = text.replace(",", " ").split()
        if len(fields) == 1:
            if fields != ["name"]:
                table[fields[0]] = None
        elif len(fields) == 4 and fields[2].isdecimal() and fields[3].isdecimal():
            table[fields[0]] = int(fields[3]) - int(fields[2]) + last_counts
        else:
            raise FormatError(f"{path}, line {line}: expected a name, or `name empty first last`, got {text!r}")
    if not table:
        raise FormatError(f"{path} names no sequence")
    return table


def find_truth(truth: Path) -> dict[str, Path]:
    """Sequence -> its ground truth; arguments and errors as in `find_sequences`."""
    if truth.is_file():
        return {_name_of(truth): truth}
    if not truth.is_dir():
        raise FormatError(f"no ground truth at {truth}: no such file or folder")
    if (own := truth / "gt" / "gt.txt").is_file():
        return {truth.resolve().name: own}
    for pattern in _TRUTH:
        if found := sorted(truth.glob(pattern)):
            return {_name_of(path): path for path in found}
    raise FormatError(f"no ground truth in {truth}: expected SEQ/gt/gt.txt or SEQ.txt there")


def _name_of(path: Path) -> str:
    """Sequence of a ground truth file."""
    if path.stem != "gt":
        return path.stem
    folder = path.resolve().parent
    return folder.parent.name if folder.name == "gt" else folder.name


def _find_results(name: str, results: Path, own_name: str, *, alone: bool) -> Path:
    if results.is_file():
        if alone:
            return results
        raise FormatError(f"{results} is one file, but there are several sequences: name a folder with {name}.txt")
    if not results.is_dir():
        raise FormatError(f"no results at {results}: no such file or folder")
    places = [f"{name}.txt", f"data/{name}.txt", f"{name}/{own_name}"] + ([own_name] if alone else [])
    for place in places:
        if (path := results / place).is_file():
            return path
    raise FormatError(f"no results for sequence {name} in {results}: expected {' or '.join(places)} there")


def stated_length(truth: Path) -> int | None:
    """`seqLength` of the `seqinfo.ini` in the sequence's folder; None without one.

    Raises:
        FormatError: the file does not say.
    """
    folders = [truth.parent.parent, truth.parent] if truth.parent.name == "gt" else [truth.parent]
    for folder in folders:
        if (path := folder / "seqinfo.ini").is_file():
            return read_length(path)
    return None


def length_of(sequence: Sequence, last_truth: int, last_result: int, first_frame: int) -> int:
    """Frames of a sequence: as stated, or up to the last object of either side (-1 without any).

    Raises:
        FormatError: an object lies behind the stated end.
    """
    if sequence.length is None:
        return max(last_truth, last_result) + 1
    for path, last in ((sequence.truth, last_truth), (sequence.results, last_result)):
        if last >= sequence.length:
            raise FormatError(
                f"{path}: frame {last + first_frame} is beyond the {sequence.length} frames of {sequence.name}"
            )
    return sequence.length
