"""`seqinfo.ini`: what MOTChallenge says about a sequence."""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass
from pathlib import Path

from tracker.errors import FormatError


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
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(Path(path).read_text(encoding="utf-8-sig"), str(path))
    except OSError as error:
        raise FormatError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    except (configparser.Error, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not an ini file: {str(error).splitlines()[0]}") from None
    if not parser.has_section("Sequence"):
        raise FormatError(f"{path}: expected a section [Sequence]")
    section = parser["Sequence"]
    numbers: dict[str, float] = {}
    for key in ("seqLength", "frameRate", "imWidth", "imHeight"):
        try:
            numbers[key] = float(section[key])
        except KeyError:
            raise FormatError(f"{path}: {key} is missing") from None
        except ValueError:
            raise FormatError(f"{path}: expected a number as {key}, got {section[key]!r}") from None
        if not 0 < numbers[key] < 1e9:
            raise FormatError(f"{path}: expected a {key} above 0, got {section[key]}")
    return SeqInfo(
        section.get("name", ""), int(numbers["seqLength"]), numbers["frameRate"], int(numbers["imWidth"]),
        int(numbers["imHeight"]), section.get("imDir", "img1"), section.get("imExt", ".jpg"),
    )  # fmt: skip


def write_seqinfo(info: SeqInfo) -> str:
    """Text of a `seqinfo.ini`, keys and order as MOTChallenge has them."""
    return (
        f"[Sequence]\nname={info.name}\nimDir={info.image_folder}\nframeRate={info.fps:g}\nseqLength={info.length}\n"
        f"imWidth={info.width}\nimHeight={info.height}\nimExt={info.extension}\n\n"
    )
