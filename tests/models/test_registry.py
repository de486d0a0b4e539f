"""Registered models: what the registry says, where files lie, how they open; and every way in which a download ends."""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import shutil
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models import graphs
from tests.models.test_yolox import SCORES, SHARES, head
from tests.models.webserver import Web, serve
from tests.patience import until
from tracker.errors import ConfigError, ModelError, ModelNotFoundError
from tracker.models import FAMILIES, ModelCard, open_model
from tracker.models.families import family_class
from tracker.models.registry import Entry, find, folders, lookup, read_registry, transfer
from tracker.models.registry.download import pull, remove
from tracker.models.registry.transfer import _SafeRedirects, web_address

BODY = np.random.default_rng(0).bytes(100_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees or changes the real user's cache, configuration or proxies."""
    for name in ("TRACKSTREAM_REGISTRY", "HF_ENDPOINT", "XDG_CACHE_HOME", "LOCALAPPDATA", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TRACKSTREAM_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def web() -> Iterator[Web]:
    with serve({"/net.onnx": BODY}) as server:
        yield server


def entry_of(web: Web, path: str = "/net.onnx", **more: Any) -> Entry:
    return Entry(
        "net", "detect", "MIT", web.at(path), **{"sha256": SHA256, "family": "yolox", "origin": "x.toml", **more}
    )


def own_registry(home: Path, text: str) -> Path:
    file = home / "config" / "trackstream" / "models.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def left(entry: Entry) -> set[str]:
    """Kinds of files in the entry's folder, the lock left out."""
    return {file.suffix for file in entry.file.parent.iterdir()} - {".lock"}


# ---------------------------------------------------------------------- the registry


def test_every_entry_of_the_wheel_is_pinned_and_can_be_described() -> None:
    entries = read_registry()
    assert len(entries) >= 5 and len({entry.sha256 for entry in entries.values()}) == len(entries)
    for name, entry in entries.items():
        assert entry.name == name and len(entry.sha256) == 64 and entry.licence and entry.source
        assert web_address(entry.address).startswith("https://")
        if entry.family in FAMILIES:
            card = entry.describe(family_class(entry.family).assumed)
            assert bool(card.class_names) == (card.task != "embed") and (card.family, card.task, card.licence) == (
                entry.family, entry.task, entry.licence,
            )  # fmt: skip


def test_a_users_registry_adds_models_and_changes_keys_of_known_ones(home: Path) -> None:
    known = find("yolox-s")
    file = own_registry(
        home,
        '[mine]\ntask = "detect"\nlicence = "mine"\naddress = "file:///net.onnx"\n'
        '[yolox-s]\naddress = "https://mirror.example/yolox.onnx"\n',
    )
    assert find("mine").origin == str(file) and find("mine").sha256 == ""
    assert find("yolox-s") == replace(known, address="https://mirror.example/yolox.onnx", origin=str(file))


def test_the_users_registry_is_where_the_variable_says(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_registry(home, "broken")
    (home / "other.toml").write_text('[mine]\ntask = "detect"\nlicence = "mine"\naddress = "file:///net.onnx"\n')
    monkeypatch.setenv("TRACKSTREAM_REGISTRY", str(home / "other.toml"))
    assert find("mine").licence == "mine"
    monkeypatch.setenv("TRACKSTREAM_REGISTRY", str(home / "none.toml"))
    with pytest.raises(ConfigError, match=r"cannot read the model registry .*none\.toml: no such file"):
        find("mine")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "not valid TOML"),
        ("a = 3", r"expected a table \[a\]"),
        ('[a]\ntask = "detect"', r"models\.toml: model 'a' says nothing about its licence"),
        ('[a]\nhash = "00"', r"\[a\] has the unknown key 'hash'; known keys are accuracy, address"),
        ("[yolox-s]\ntask = 3", r"\[yolox-s\] task cannot be 3"),
        ('[yolox-s]\nsize = "big"', "size cannot be 'big'"),
        ("[yolox-s]\ncard = 3", "card cannot be 3"),
        ('[yolox-s]\nsha256 = "C5C2"', "64 hexadecimal digits, got 'C5C2'"),
        ('["../a"]\ntask = "detect"', "small letters, digits"),
        ('["a.onnx"]\ntask = "detect"', "small letters, digits"),
    ],
)
def test_broken_registries_say_what_is_wrong(home: Path, text: str, says: str) -> None:
    own_registry(home, text)
    with pytest.raises(ConfigError, match=says) as caught:
        read_registry()
    assert "\n" not in str(caught.value)


def test_a_broken_registry_keeps_no_file_from_opening(home: Path) -> None:
    own_registry(home, "[")
    path = graphs.planted(home / "net.onnx", {"o": np.zeros((1, 336, 7), np.float32)})
    assert open_model(path, "yolox", warmup=False).card.family == "yolox"


def test_names_are_not_paths() -> None:
    assert lookup("yolox-s") is not None
    for text in ("yolox-s.onnx", "./yolox-s", "models/yolox-s", "/yolox-s", "", "magic", "C:\\net"):
        assert lookup(text) is None
    with pytest.raises(ModelNotFoundError, match=r"no model 'magic' in the registry; it has .*yolox-s"):
        find("magic")


def test_the_cache_is_the_platforms(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folders.cache_folder() == home / "cache" / "models"
    monkeypatch.delenv("TRACKSTREAM_CACHE")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LOCALAPPDATA", str(home / "local"))
    for platform, place in (("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "local")):
        monkeypatch.setattr(folders.sys, "platform", platform)
        assert folders.cache_folder() == home / place / "trackstream" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert folders.cache_folder() == home / "xdg" / "trackstream" / "models"


def test_without_a_home_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACKSTREAM_CACHE")
    monkeypatch.setattr(folders.os.path, "expanduser", lambda path: path)
    with pytest.raises(ConfigError, match="no home folder to keep models in; set TRACKSTREAM_CACHE"):
        folders.cache_folder()


# ---------------------------------------------------------------------- opening by name


@pytest.fixture
def registered(home: Path) -> Entry:
    """A YOLOX file of two classes in a user's registry, at a file: address."""
    planted = head(graphs.letterboxed(SHARES * 128, (128, 128), corner=True), SCORES)
    path = graphs.planted(home / "a net.onnx", {"output": planted})
    own_registry(
        home,
        f'[mine]\ntask = "detect"\nfamily = "yolox"\nlicence = "CC0"\nsource = "me"\naddress = "{path.as_uri()}"\n'
        f'sha256 = "{hashlib.sha256(path.read_bytes()).hexdigest()}"\n'
        '[mine.card]\nclass_names = ["person", "car"]\n[mine.card.image]\ncolour = "rgb"\n',
    )
    return find("mine")


def test_a_name_needs_no_other_flag(registered: Entry) -> None:
    with pytest.raises(
        ModelNotFoundError,
        match=r"mine .*licence CC0.* is not on this machine; fetch it with: tracker models pull mine",
    ):
        open_model("mine")
    assert not registered.file.exists()
    pull(registered, offline=True)
    model = open_model("mine", warmup=False)
    assert model.session.path == registered.file and model.card.class_names == ("person", "car")
    assert (model.card.licence, model.card.source, model.card.sha256) == ("CC0", "me", registered.sha256)
    image = model.card.image
    assert (image.colour, image.scale, image.resize) == (
        "rgb",
        1.0,
        "letterbox-corner",
    )  # the family's but for the colour


def test_a_damaged_file_is_not_opened_and_is_fetched_again(registered: Entry) -> None:
    whole = pull(registered).read_bytes()
    registered.file.write_bytes(whole[:-1] + b"x")
    with pytest.raises(
        ModelError, match=f"have SHA-256 {registered.sha256}, got .*fetch it again with: tracker models pull mine"
    ):
        open_model("mine")
    assert pull(registered).read_bytes() == whole


def test_families_that_do_not_fit(home: Path, registered: Entry) -> None:
    pull(registered)
    with pytest.raises(ModelError, match="says it is of the family 'yolox', not 'yolo'"):
        open_model("mine", "yolo")
    with pytest.raises(ModelError, match=r"vittrack .*cannot be run here: expected one of yolo, .*, got vittrack"):
        open_model("vittrack")
    with pytest.raises(ModelError, match=r"says net is of the family 'yolox', not 'yolo'"):
        Entry("net", "detect", "MIT", "https://x", family="yolox", origin="x.toml").describe(
            ModelCard("yolo", "detect")
        )
    with pytest.raises(ModelError, match=r"x\.toml: card of net: broken model card: unknown key 'colour'"):
        Entry("net", "detect", "MIT", "https://x", family="yolo", origin="x.toml", card={"colour": "rgb"}).describe(
            None
        )


def test_hashes_of_the_projects_files_are_the_registrys(shared: Path) -> None:
    for name, file in (("vittrack", "vittrack.onnx"), ("nanodet-m", "nanodet_m.onnx")):
        entry = replace(find(name), address=(shared.resolve() / "data" / "models" / file).as_uri())
        assert pull(entry, offline=True).stat().st_size == entry.size


# ---------------------------------------------------------------------- downloads that end well


def test_a_whole_download_leaves_the_file_and_its_record(web: Web) -> None:
    steps: list[tuple[int, int | None]] = []
    entry = entry_of(web, source="a friend", size=len(BODY))
    assert pull(entry, on_progress=lambda done, total: steps.append((done, total))) == entry.file
    assert entry.file.read_bytes() == BODY and left(entry) == {".onnx", ".json"}
    assert steps[-1] == (len(BODY), len(BODY)) and steps == sorted(steps)
    record = json.loads(entry.file.with_suffix(".json").read_text())
    assert record.pop("pulled_at").endswith("+00:00")
    assert record == {"name": "net", "address": web.at("/net.onnx"), "sha256": SHA256, "size": len(BODY),
                      "licence": "MIT", "source": "a friend"}  # fmt: skip
    pull(entry)
    pull(entry, offline=True)
    assert web.asked == [("/net.onnx", "")]
    assert remove(entry) > len(BODY) and not entry.file.parent.exists() and remove(entry) == 0


@pytest.mark.parametrize("etag", ['"first"', 'W/"weak"', ""])
def test_a_cut_download_goes_on_where_it_ended(web: Web, etag: str) -> None:
    web.cut, web.etag, entry = 30_000, etag, entry_of(web)
    with pytest.raises(
        ModelError, match="ended after 30000 of 100000 bytes; run the command again to go on from there"
    ):
        pull(entry)
    assert left(entry) == {".part", ".tag"} if etag == '"first"' else {".part"}
    with pytest.raises(ModelError, match="ended after 60000 of 100000"):
        pull(entry)
    web.cut = None
    assert pull(entry).read_bytes() == BODY and left(entry) == {".onnx", ".json"}
    assert web.asked == [("/net.onnx", ""), ("/net.onnx", "bytes=30000-"), ("/net.onnx", "bytes=60000-")]


def test_a_server_that_does_not_say_the_length(web: Web) -> None:
    web.length, web.cut, steps = False, 30_000, []
    with pytest.raises(ModelError, match="ended after 30000 of 100000 bytes"):
        pull(entry_of(web, size=len(BODY)))
    web.cut = None
    assert pull(entry_of(web), on_progress=lambda done, total: steps.append(total)).read_bytes() == BODY
    web.files["/net.onnx"] = BODY + b"more"
    remove(entry_of(web))
    with pytest.raises(ModelError, match="sends more than the 100000 bytes of net"):
        pull(entry_of(web, size=len(BODY)))


@pytest.mark.parametrize("why", ["changed there", "no ranges", "too long here", "no such range"])
def test_what_cannot_be_gone_on_with_starts_anew(web: Web, why: str) -> None:
    entry = entry_of(web, size=len(BODY) if why == "too long here" else None)
    web.files["/net.onnx"], web.cut = bytes(50_000) if why == "changed there" else BODY, 30_000
    with pytest.raises(ModelError, match="ended after 30000" if not entry.size else "ended after"):
        pull(entry)
    web.files["/net.onnx"], web.cut = BODY, None
    if why == "changed there":
        web.etag = '"second"'
    elif why == "no ranges":
        web.ranges = False
    else:
        entry.file.with_suffix(".part").write_bytes(BODY + b"more")
    assert pull(entry).read_bytes() == BODY


def test_redirects_lead_to_the_file_and_keep_the_range(web: Web) -> None:
    web.cut, entry = 30_000, entry_of(web, "/to?/net.onnx")
    with pytest.raises(ModelError, match="ended after 30000"):
        pull(entry)
    web.cut = None
    assert pull(entry).read_bytes() == BODY and web.asked[-1] == ("/net.onnx", "bytes=30000-")


def test_a_hub_address_goes_to_the_hub(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    assert web_address("hf://a/b/c/d.onnx@v1") == "https://huggingface.co/a/b/resolve/v1/c/d.onnx"
    assert web_address("hf://a/b/c.onnx") == "https://huggingface.co/a/b/resolve/main/c.onnx"
    for wrong in ("hf://a/b", "hf://a/b@main", "hf://c.onnx", "hf://a/b/c@"):
        with pytest.raises(ModelError, match="expected hf://organisation/repository/file@revision"):
            web_address(wrong)
    monkeypatch.setenv("HF_ENDPOINT", web.at("/"))
    web.files["/a/b/resolve/v1/c/d.onnx"] = BODY
    assert pull(replace(entry_of(web), address="hf://a/b/c/d.onnx@v1")).suffix == ".onnx"


def test_two_pulls_of_one_file_fetch_it_once(web: Web) -> None:
    web.pause_s, entry = 0.02, entry_of(web)
    waiting: list[int] = []
    second = threading.Thread(target=lambda: pull(entry, on_progress=lambda done, _: waiting.append(done)))
    first = threading.Thread(target=lambda: pull(entry))
    first.start()
    until(lambda: web.asked)
    second.start()
    first.join()
    second.join()
    assert entry.file.read_bytes() == BODY and len(web.asked) == 1
    assert waiting and waiting == sorted(waiting)  # the one who waits sees how far the other is


# ---------------------------------------------------------------------- downloads that do not


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_another_hash_removes_the_file_and_says_both(web: Web, home: Path, scheme: str) -> None:
    web.files["/net.onnx"] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    (home / "net.onnx").write_bytes(web.files["/net.onnx"])
    entry = entry_of(web)
    if scheme == "file":
        entry = replace(entry, address=(home / "net.onnx").as_uri())
    found = hashlib.sha256(web.files["/net.onnx"]).hexdigest()
    with pytest.raises(
        ModelError, match=f"with SHA-256 {SHA256}, got {found} .*Git LFS pointer.*; the file was removed"
    ):
        pull(entry)
    assert left(entry) == set()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/none.onnx", r"/none\.onnx is not there; its makers may have moved it \(HTTP 404\)"),
        ("/status?401", "wants a login"),
        ("/status?403", r"forbids this download \(HTTP 403\)"),
        ("/status?410", "is gone"),
        ("/status?418", r"refused the request \(HTTP 418\)"),
        ("/status?429", "too many requests"),
        ("/status?503", r"failed on the server's side; try later \(HTTP 503\)"),
        ("/page", "answers with a web page instead of net; a login"),
        ("/to?http://mirror.example/net.onnx", r"redirects to http://mirror\.example/net\.onnx, which is not https"),
        ("/to?file:///etc/hostname", "to what is not https; refused"),
        ("/to?ftp://mirror.example/net.onnx", "which is not https; refused"),
        ("/to?/to?/nowhere", "is not there"),
    ],
)  # fmt: skip
def test_answers_that_are_no_model_are_one_line(web: Web, path: str, says: str) -> None:
    entry = entry_of(web, path)
    with pytest.raises(ModelError, match=says) as caught:
        pull(entry)
    assert "\n" not in str(caught.value) and left(entry) == set()


def test_https_is_never_left(web: Web) -> None:
    answer = io.BytesIO()
    for scheme, port in (("https", 443), ("http", web.port)):
        request = urllib.request.Request(f"{scheme}://127.0.0.1:{port}/net.onnx", headers={"Range": "bytes=5-"})
        step = functools.partial(_SafeRedirects().redirect_request, request, answer, 302, "Found", Message())
        if scheme == "https":
            with pytest.raises(ModelError, match="which is not https; refused"):
                step(web.at("/net.onnx"))
        followed = step("https://cdn.example/net.onnx")
        assert followed is not None and followed.get_header("Range") == "bytes=5-"


def test_circles_of_redirects_end(web: Web) -> None:
    with pytest.raises(ModelError, match="redirects in a circle"):
        pull(entry_of(web, "/to?/to?/to"))


def test_sizes_that_are_not_the_registrys_are_refused_before_a_byte_is_kept(web: Web) -> None:
    with pytest.raises(ModelError, match=r"expected 7 bytes of net, http://.*/net\.onnx has 100000"):
        pull(entry_of(web, size=7))
    assert left(entry_of(web)) == set()


def test_a_server_that_falls_silent(web: Web) -> None:
    web.pause_s, entry = 5, entry_of(web)
    with pytest.raises(ModelError, match=r"net\.onnx sent nothing for 0\.2 s; try again"):
        pull(entry, timeout_s=0.2)


def test_a_server_that_is_not_there(web: Web) -> None:
    with serve({}) as gone:
        pass
    with pytest.raises(ModelError, match=r"cannot be fetched .*refused; this machine itself"):
        pull(entry_of(gone))


def test_an_entry_without_a_hash_cannot_be_pulled(web: Web) -> None:
    with pytest.raises(ModelError, match=r"x\.toml pins no sha256 for net, so nothing could tell what was fetched"):
        pull(entry_of(web, sha256=""))
    assert web.asked == []


def test_offline_asks_nobody(web: Web) -> None:
    with pytest.raises(ModelError, match=r"net is not in the cache .*, and --offline forbids fetching it"):
        pull(entry_of(web), offline=True)
    assert web.asked == []


@pytest.mark.parametrize("address", ["http://example.org/a.onnx", "ftp://example.org/a", "net.onnx", "https:///a"])
def test_addresses_that_are_not_safe_are_refused(web: Web, address: str) -> None:
    with pytest.raises(ModelError, match=r"expected an https:, hf: or file: address, got .*; nothing was fetched"):
        pull(replace(entry_of(web), address=address))


def test_files_that_cannot_be_read(web: Web, home: Path) -> None:
    with pytest.raises(ModelError, match=r"/none\.onnx cannot be read \(no such file"):
        pull(replace(entry_of(web), address=(home / "none.onnx").as_uri()))
    for wrong in ("file:net.onnx", "file://server/net.onnx"):
        with pytest.raises(ModelError, match="expected a file address such as file:///folder"):
            pull(replace(entry_of(web), address=wrong))


def test_a_cache_that_cannot_be_written(web: Web, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "taken").write_text("a file where a folder should be")
    monkeypatch.setenv("TRACKSTREAM_CACHE", str(home / "taken"))
    with pytest.raises(
        ModelError, match=r"the cache .* cannot be written \(not a directory\); set TRACKSTREAM_CACHE to"
    ):
        pull(entry_of(web))


def test_a_full_disk_is_known_before_and_while(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil._ntuple_diskusage(10, 9, 1)  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: full)
        with pytest.raises(ModelError, match=r"cannot be written \(no space left on device\); free some space"):
            pull(entry_of(web, size=len(BODY)))
        assert web.asked == []

    def fill(done: int, total: int | None) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ModelError, match=r"no space left on device.*free some space"):
        pull(entry_of(web), on_progress=fill)
    assert pull(entry_of(web)).read_bytes() == BODY


def test_networks_behind_proxies_are_told_how(monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    """A proxy that refuses everything: what is asked of it, and what the user reads."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    entry = replace(entry_of(web), address="https://models.example/net.onnx?key=secret")
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{web.port}")
    with pytest.raises(
        ModelError, match=r"https://models\.example/net\.onnx cannot be fetched .*through the proxy http://127"
    ) as caught:
        pull(entry)
    assert "secret" not in str(caught.value)
    assert pull(entry_of(web)).read_bytes() == BODY  # to this machine itself there is no way through a proxy


def test_networks_that_fail_are_told_apart(monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    entry = replace(entry_of(web), address="https://models.example/net.onnx")
    monkeypatch.setattr(transfer, "getproxies", dict)
    untrusted = ssl.SSLCertVerificationError(1, "certificate verify failed")
    untrusted.verify_message = "self-signed certificate"
    for reason, says in (
        (OSError(-2, "Name or service not known"), "not known; directly; behind a proxy set HTTPS_PROXY"),
        (untrusted, r"certificate that is not trusted \(self-signed certificate\).*set SSL_CERT_FILE"),
        (TimeoutError("timed out"), "sent nothing for 30 s; try again"),
    ):  # fmt: skip

        class Failing:
            def open(self, *_: object, reason: OSError = reason, **__: object) -> None:
                raise urllib.error.URLError(reason)

        monkeypatch.setattr(transfer, "build_opener", lambda *_, failing=Failing: failing())
        with pytest.raises(ModelError, match=says):
            pull(entry)
