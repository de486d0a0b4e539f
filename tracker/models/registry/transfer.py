"""One file over the network, going on from where an earlier try was cut.

Addresses are https only; http is allowed to this machine itself. Proxies and certificates are those of the standard
library (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`). What a server sends proves nothing: `download` compares
the SHA-256.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import ssl
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener, getproxies, proxy_bypass

from tracker.errors import ModelError
from tracker.models.registry.entry import Entry

HUB_VARIABLE = "HF_ENDPOINT"

Progress = Callable[[int, int | None], None]
"""Called with bytes done and bytes in all, None while that is unknown."""

_BLOCK = 1 << 18
_HUB_ADDRESS = re.compile(r"hf://(?P<repository>[^/@]+/[^/@]+)/(?P<file>[^@]+?)(?:@(?P<revision>[^@/]+))?")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def web_address(address: str) -> str:
    """The https address of an entry's address; `hf://` goes to the Hugging Face Hub or to `HF_ENDPOINT`.

    Raises:
        ModelError: neither https, nor `hf://organisation/repository/file@revision`, nor http to this machine.
    """
    if address.startswith("hf://"):
        parts = _HUB_ADDRESS.fullmatch(address)
        if parts is None:
            raise ModelError(f"expected hf://organisation/repository/file@revision, got {address!r}")
        hub = os.environ.get(HUB_VARIABLE) or "https://huggingface.co"
        address = f"{hub.rstrip('/')}/{parts['repository']}/resolve/{parts['revision'] or 'main'}/{parts['file']}"
    if not _may_fetch(address):
        raise ModelError(f"expected an https:, hf: or file: address, got {shown(address)}; nothing was fetched")
    return address


def shown(address: str) -> str:
    """An address without user, password, query and fragment: these may be secrets."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else address


class Transfer:
    """One download into `part`, going on from what is there."""

    def __init__(self, entry: Entry, part: Path, timeout_s: float, tell: Progress) -> None:
        self._entry, self._part, self._tell = entry, part, tell
        self._address, self._timeout_s = web_address(entry.address), timeout_s
        self._tag = part.with_suffix(".tag")  # what the server calls the version of which `part` is the beginning

    def run(self) -> None:
        """Fetch what is missing."""
        have, wanted = self._have(), self._entry.size
        if have and have == wanted:
            return
        if wanted is not None and have > wanted:
            self._part.unlink()
            have = 0
        if not self._fetch(have):  # the server has another file, or none of this length
            self._part.unlink(missing_ok=True)
            if not self._fetch(0):
                raise ModelError(f"{shown(self._address)} sends another part of the file than was asked for; try later")

    def _fetch(self, have: int) -> bool:
        """Append to the first `have` bytes; False if the server cannot go on from there."""
        request = Request(self._address, headers={"User-Agent": "trackstream", "Accept": "*/*"})
        if have:
            request.add_header("Range", f"bytes={have}-")
            if self._tag.exists():
                request.add_header("If-Range", self._tag.read_text(encoding="utf-8"))
        response = self._open(request)
        if response is None:
            return False
        with response:
            first, total = _extent(response)
            if response.status == 206 and first != have:
                return False
            self._check(response, total)
            if first == 0:
                self._remember(response.headers)
            self._save(response, first, total)
        return True

    def _have(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _open(self, request: Request) -> http.client.HTTPResponse | None:
        """The answer; None where there is nothing to go on with (416)."""
        host = urlsplit(self._address).hostname or ""
        handlers: list[Any] = [_SafeRedirects()] + ([ProxyHandler({})] if host in _LOOPBACK else [])
        with self._explained():
            try:
                answer: http.client.HTTPResponse = build_opener(*handlers).open(request, timeout=self._timeout_s)
            except HTTPError as error:
                with error:
                    if error.code == 416 and request.has_header("Range"):
                        return None
                    raise ModelError(f"{shown(self._address)} {_refusal(error)}") from None
        return answer

    def _check(self, response: http.client.HTTPResponse, total: int | None) -> None:
        """Refuse what cannot be the model before a byte is written."""
        kind = response.headers.get_content_type()
        wanted = self._entry.size
        if kind == "text/html":
            raise ModelError(
                f"{shown(self._address)} answers with a web page instead of {self._entry.name}; a login, a consent "
                "page or a proxy stands between"
            )
        if wanted is not None and total is not None and total != wanted:
            raise ModelError(
                f"expected {wanted} bytes of {self._entry.name}, {shown(self._address)} has {total} ({kind})"
            )

    def _remember(self, headers: Message) -> None:
        """Keep the version's name for `If-Range`, which takes no weak tags."""
        tag = headers.get("ETag", "")
        tag = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
        if tag:
            self._tag.write_text(tag, encoding="utf-8")
        else:
            self._tag.unlink(missing_ok=True)

    def _save(self, response: http.client.HTTPResponse, first: int, total: int | None) -> None:
        done, most = first, self._entry.size
        whole = most if total is None else total
        with self._part.open("ab" if first else "wb") as file:
            for block in self._blocks(response):
                done += len(block)
                if most is not None and done > most:
                    raise ModelError(f"{shown(self._address)} sends more than the {most} bytes of {self._entry.name}")
                file.write(block)
                self._tell(done, whole)
        if whole is not None and done < whole:
            raise ModelError(self._cut(f"ended after {done} of {whole} bytes"))

    def _blocks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        while True:
            with self._explained():
                block = response.read1(_BLOCK)
            if not block:
                return
            yield block

    def _cut(self, what: str) -> str:
        again = "run the command again to go on from there" if self._have() else "try again"
        return f"{shown(self._address)} {what}; {again}"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Every way in which a network fails, as one line."""
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, TimeoutError):
                raise ModelError(self._cut(f"sent nothing for {self._timeout_s:g} s")) from None
            if isinstance(reason, ssl.SSLCertVerificationError):
                told = f"has a certificate that is not trusted ({reason.verify_message}); behind a proxy that reads"
                told += " along, set SSL_CERT_FILE to its certificate"
                raise ModelError(f"{shown(self._address)} {told}") from None
            what = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            raise ModelError(self._cut(f"cannot be fetched ({_line(what)}; {_way(self._address)})")) from None


class _SafeRedirects(HTTPRedirectHandler):
    """Follows redirects to https only; from this machine's http also to this machine's."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        """The next request, unless it would leave https."""
        if not _may_fetch(newurl) or (req.type == "https" and urlsplit(newurl).scheme != "https"):
            fp.close()
            raise ModelError(f"{shown(req.full_url)} redirects to {shown(newurl)}, which is not https; refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Position of an answer's first byte in the file, -1 if it does not say, and the length of the file."""
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found is None:
            return -1, None
        return int(found[1]), None if found[2] == "*" else int(found[2])
    return 0, response.length


def _may_fetch(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )


def _refusal(error: HTTPError) -> str:
    """What an HTTP status means to somebody who wants a model."""
    if error.code < 400:
        return f"redirects in a circle, or to what is not https; refused (HTTP {error.code})"
    told = {
        401: "wants a login; fetch the file by hand and name it with a file: address",
        403: "forbids this download",
        404: "is not there; its makers may have moved it",
        407: "cannot be reached: the proxy wants a login (HTTPS_PROXY=http://user:password@host:port)",
        410: "is gone",
        429: "asks to come back later: too many requests",
    }.get(error.code, "failed on the server's side; try later" if error.code >= 500 else "refused the request")
    return f"{told} (HTTP {error.code})"


def _way(address: str) -> str:
    """How the network was reached, for somebody whose network has a proxy."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if host in _LOOPBACK:
        return "this machine itself"
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(host):
        return f"through the proxy {shown(proxy)} of the environment"
    return "directly; behind a proxy set HTTPS_PROXY"


def _line(text: str) -> str:
    return " ".join(text.split())
