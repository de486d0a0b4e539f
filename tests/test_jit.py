"""The kernels' cache: found where it can be written, correct where it cannot, never stale."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracker import _jit

SCRIPT = """
import numpy as np
from tracker import _bits
from tracker._jit import cache_folder
print(cache_folder(), _bits.count_areas(np.array([255, 1], np.uint64), np.array([0, 1, 2])).tolist())
"""


def run(**environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_the_users_cache_folder_is_used_and_reused(tmp_path: Path) -> None:
    folder, _, areas = run(XDG_CACHE_HOME=str(tmp_path)).partition(" ")
    assert areas == "[8, 1]" and Path(folder).is_relative_to(tmp_path / "trackstream")
    files = {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*.nbc")}
    assert files
    assert run(XDG_CACHE_HOME=str(tmp_path)) == f"{folder} [8, 1]"
    assert {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*.nbc")} == files


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a process that has not looked for a folder yet, and names none."""
    for name in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    _jit.cache_folder.cache_clear()
    yield monkeypatch
    _jit.cache_folder.cache_clear()


def test_numba_cache_dir_comes_first(tmp_path: Path, fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))
    fresh.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _jit.cache_folder() == tmp_path / "own" / "kernels"


def test_a_read_only_home_still_works(tmp_path: Path) -> None:
    """A file in the place of the folder cannot be written by root either."""
    (tmp_path / "home").write_text("")
    printed = run(XDG_CACHE_HOME=str(tmp_path / "home"), TMPDIR=str(tmp_path))
    assert printed.startswith(str(tmp_path / "trackstream-")) and printed.endswith("[8, 1]")


def test_nothing_writable_means_no_cache(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(_jit, "_writable", lambda folder: False)
    assert _jit.cache_folder() is None
    assert _jit.kernel(lambda x: x + 1)(2) == 3


def test_caches_of_old_versions_go(tmp_path: Path, fresh: pytest.MonkeyPatch) -> None:
    kernels = tmp_path / "trackstream" / "kernels"
    for name, days in (("old", 40), ("recent", 3)):
        (kernels / name).mkdir(parents=True)
        os.utime(kernels / name, (time.time() - days * 86400,) * 2)
    fresh.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _jit.cache_folder() == kernels
    assert not (kernels / "old").exists() and (kernels / "recent").exists()


def test_a_user_without_name_and_home_works(tmp_path: Path, fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(_jit.os.path, "expanduser", lambda path: path)
    fresh.setattr(_jit.tempfile, "gettempdir", lambda: str(tmp_path))
    for name in ("USER", "LOGNAME"):
        fresh.delenv(name, raising=False)
    assert str(_jit.cache_folder()).startswith(str(tmp_path / "trackstream-"))


def test_a_change_reaches_the_kernels_that_import_it_and_no_others(tmp_path: Path) -> None:
    """A package of three modules: `inner` is compiled into `outer`, `other` into neither."""
    package = tmp_path / "tracker"
    package.mkdir()
    shutil.copy(_jit.__file__, package)
    (package / "__init__.py").write_text("")
    (package / "outer.py").write_text(
        "from tracker._jit import kernel\nfrom tracker.inner import (\n    ONE,\n    add,\n)\n\n\n"
        "@kernel\ndef run(x):\n    return add(x) + ONE\n"
    )
    inner = "from tracker._jit import inlined\nONE = 1\n\n\n@inlined\ndef add(x):\n    return x + {}\n"
    script = "from tracker.outer import run; print(run(1), sum(run.stats.cache_hits.values()))"

    def printed() -> str:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}  # the folder it runs in comes first
        command = [sys.executable, "-W", "error", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    (package / "inner.py").write_text(inner.format(10))
    assert printed() == "12 0"
    (package / "other.py").write_text("import tracker.outer\n")
    assert printed() == "12 1"
    (package / "inner.py").write_text(inner.format(20))
    assert printed() == "22 0"
