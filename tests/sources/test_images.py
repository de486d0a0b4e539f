"""Image folders: natural order, every way to name them, and files that are no images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.sources.clips import number_of, picture
from tracker.errors import SourceError
from tracker.sources import open_source
from tracker.sources.images import natural_key


@pytest.fixture
def shots(tmp_path):
    """Eleven images whose names sort wrongly as text."""
    folder = tmp_path / "shots"
    folder.mkdir()
    for k in range(1, 12):
        assert cv2.imwrite(str(folder / f"{k}.png"), picture(k))
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"no image")
    return folder


def numbers(source):
    with source:
        return [number_of(frame.image) for frame in source]


def test_a_folder_comes_in_natural_order(shots):
    source = open_source(shots, fps=20)
    assert (source.length, source.fps, source.size, source.live, source.dropped) == (11, 20, (256, 64), False, 0)
    frames = list(source)
    assert [number_of(frame.image) for frame in frames] == list(range(1, 12))
    assert [frame.index for frame in frames] == list(range(11))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(11) / 20)


def test_globs_patterns_and_single_files(shots, tmp_path):
    assert numbers(open_source(f"{shots}/*.png")) == list(range(1, 12))
    assert numbers(open_source(f"{shots}/1*.png")) == [1, 10, 11]
    assert numbers(open_source(f"{shots}/%d.png")) == list(range(1, 12))
    assert numbers(open_source(shots / "7.png")) == [7]
    for k in (1, 2, 12):
        cv2.imwrite(str(tmp_path / f"img_{k:04d}.jpg"), picture(k))
    assert numbers(open_source(f"{tmp_path}/img_%04d.jpg")) == [1, 2, 12]
    with pytest.raises(SourceError, match="no image matches"):
        open_source(f"{tmp_path}/img_%06d.jpg")


def test_natural_order_of_mixed_names(tmp_path):
    names = ["a10b2", "a2b10", "a2b9", "B1", "a", "10", "9", "a02"]
    ordered = sorted((tmp_path / name for name in names), key=natural_key)
    assert [path.name for path in ordered] == ["9", "10", "a", "a02", "a2b9", "a2b10", "a10b2", "B1"]


def test_sizes_and_channels_may_differ(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((8, 16, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "2.png"), np.full((20, 10), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "3.png"), np.full((4, 4, 4), 9, np.uint8))
    cv2.imwrite(str(tmp_path / "4.png"), np.full((4, 4), 65535, np.uint16))
    frames = list(open_source(tmp_path))
    assert [frame.image.shape for frame in frames] == [(8, 16, 3), (20, 10, 3), (4, 4, 3), (4, 4, 3)]
    assert (frames[1].image == 77).all() and (frames[3].image == 255).all()


def test_a_name_that_is_not_ascii(tmp_path):
    folder = tmp_path / "стрит 北京"
    folder.mkdir()
    (folder / "é.png").write_bytes(cv2.imencode(".png", picture(5))[1].tobytes())
    assert numbers(open_source(folder)) == [5]


def test_an_empty_folder_and_the_hint_to_one_inside(tmp_path, shots):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no images"):
        open_source(tmp_path / "empty")
    with pytest.raises(SourceError, match=r"there are some in .*shots"):
        open_source(tmp_path)


@pytest.mark.parametrize(("content", "reason"), [(b"", "empty"), (b"not an image", "not an image, or a broken one")])
def test_a_broken_image_ends_the_run_with_its_name(shots, content, reason, capfd):
    (shots / "3.png").write_bytes(content)
    source = open_source(shots)
    seen = []
    with pytest.raises(SourceError, match=rf"3\.png: .*{reason}"):
        seen.extend(number_of(frame.image) for frame in source)
    (shots / "1.png").write_bytes(content)
    with pytest.raises(SourceError, match=rf"1\.png: .*{reason}"):
        open_source(shots)
    assert capfd.readouterr() == ("", "")


def test_a_cut_jpeg_is_refused_or_read_but_never_prints(tmp_path, capfd):
    data = cv2.imencode(".png", picture(5))[1].tobytes()
    (tmp_path / "1.png").write_bytes(data[: len(data) // 3])
    with pytest.raises(SourceError, match="broken"):
        open_source(tmp_path)


def test_an_image_that_vanishes_is_named(shots):
    source = open_source(shots)
    (shots / "2.png").unlink()
    with pytest.raises(SourceError, match=r"2\.png: no such file"):
        list(source)


def test_closing_ends_the_iteration(shots):
    source = open_source(shots)
    next(iter(source))
    source.close()
    assert list(source) == []


def test_a_real_sequence(shared):
    folder = shared / "data" / "sequences" / "TUD-Campus"
    with open_source(folder / "img1" if (folder / "img1").is_dir() else folder) as source:
        assert source.length == 71
        assert sum(1 for _ in source) == 71
