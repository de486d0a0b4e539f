"""`seqinfo.ini`: what MOTChallenge says about a sequence."""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass
from pathlib import Path

from tracker.errors import FormatError, why


@dataclass(frozen=True, slots=True)
class SeqInfo:
    """A sequence: its name, frames, frame rate and picture size; pictures are `image_folder/000001<extension>`, ..."""

    name: str
    length: int
    fps: float
    width: int
    height: int
    image_folder: str = "img1"
    extension: str = ".jpg"


def read_seqinfo(path: str | os.PathLike[str]) -> SeqInfo:
    """Read a `seqinfo.ini`.

    Raises:
        FormatError: it cannot be read, a key is missing, or a number is none; names file and key.
    """
    section = _open(path)
    length, fps, width, height = (
        _number(path, section, key) for key in ("seqLength", "frameRate", "imWidth", "imHeight")
    )
    return SeqInfo(
        section.get("name", ""), int(length), fps, int(width), int(height), section.get("imDir", "img1"),
        section.get("imExt", ".jpg"),
    )  # fmt: skip


def read_length(path: str | os.PathLike[str]) -> int:
    """How many frames a `seqinfo.ini` says there are, whatever else it says.

    Raises:
        FormatError: it cannot be read, or does not say.
    """
    return int(_number(path, _open(path), "seqLength"))


def write_seqinfo(info: SeqInfo) -> str:
    """Text of a `seqinfo.ini`, keys and order as MOTChallenge has them."""
    return (
        f"[Sequence]\nname={info.name}\nimDir={info.image_folder}\nframeRate={info.fps:g}\nseqLength={info.length}\n"
        f"imWidth={info.width}\nimHeight={info.height}\nimExt={info.extension}\n\n"
    )


def _open(path: str | os.PathLike[str]) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(Path(path).read_text(encoding="utf-8-sig"), str(path))
    except OSError as error:
        raise FormatError(f"cannot read {path}: {why(error)}") from None
    except (configparser.Error, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not an ini file: {str(error).splitlines()[0]}") from None
    if not parser.has_section("Sequence"):
        raise FormatError(f"{path}: expected a section [Sequence]")
    return parser["Sequence"]


def _number(path: str | os.PathLike[str], section: configparser.SectionProxy, key: str) -> float:
    try:
        number = float(section[key])
    except KeyError:
        raise FormatError(f"{path}: {key} is missing") from None
    except ValueError:
        raise FormatError(f"{path}: expected a number as {key}, got {section[key]!r}") from None
    if not 0 < number < 1e9:
        raise FormatError(f"{path}: expected a {key} above 0, got {section[key]}")
    return number
