"""seqinfo.ini: both ways, and what is missing is named."""

from __future__ import annotations

import pytest

from tracker.errors import FormatError
from tracker.formats.seqinfo import SeqInfo, read_length, read_seqinfo, write_seqinfo

TEXT = """\
[Sequence]
name=MOT17-02-SYN
imDir=img1
frameRate=30
seqLength=600
imWidth=1920
imHeight=1080
imExt=.jpg

"""
INFO = SeqInfo("MOT17-02-SYN", 600, 30.0, 1920, 1080)


def test_both_ways_to_the_byte(tmp_path):
    assert write_seqinfo(INFO) == TEXT
    (tmp_path / "seqinfo.ini").write_text(TEXT)
    assert read_seqinfo(tmp_path / "seqinfo.ini") == INFO


def test_the_length_alone(tmp_path):
    path = tmp_path / "seqinfo.ini"
    path.write_text("[Sequence]\nseqLength=17\n")
    assert read_length(path) == 17
    with pytest.raises(FormatError, match="frameRate is missing"):
        read_seqinfo(path)


def test_the_benchmarks_own_files(shared):
    files = sorted((shared / "data" / "gt" / "mot17_train").rglob("seqinfo.ini"))
    assert files
    for path in files:
        info = read_seqinfo(path)
        assert info.name in str(path) and info.length > 100


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("seqLength=600\n", "", "seqLength is missing"),
        ("=600", "=many", "expected a number as seqLength, got 'many'"),
        ("=600", "=0", "expected a seqLength above 0"),
        ("[Sequence]", "[Other]", r"section \[Sequence\]"),
        ("[Sequence]\n", "", "not an ini file"),
    ],
)
def test_faults(tmp_path, old, new, reason):
    path = tmp_path / "seqinfo.ini"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(FormatError, match=reason) as caught:
        read_seqinfo(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
