"""Asking a server, and asking it again: what another attempt may mend, and how long to wait."""

import contextlib
import http.client
import os
import random
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from epitaxy.errors import EpitaxyError

_PASSING = (408, 425, 429, 500, 502, 503, 504)  # a server that may answer otherwise in a moment
_UNREACHED = 3  # attempts at a server that never answered: there may be no network at all

Say = Callable[[str], None]


class DownloadError(EpitaxyError, RuntimeError):
    """A file that could not be fetched from any of its addresses."""


class NoConnectionError(DownloadError):
    """No server could be reached."""


class ChecksumError(DownloadError):
    """A file that is another one than it should be."""


class DiskFullError(DownloadError):
    """No room for the file; what has come so far is kept."""


class InterruptedTransferError(Exception):
    """The transfer ended early, or the server asks to come again."""

    def __init__(self, reason: str, wait: float | None = None, connected: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.connected = wait, connected


@dataclass(frozen=True)
class Patience:
    """How long to try: attempts without a new byte, seconds before the second, and until silence.

    The wait doubles from attempt to attempt, up to ``longest`` seconds.
    """

    tries: int = 5
    wait: float = 1.0
    longest: float = 60.0
    timeout: float = 30.0

    @classmethod
    def from_environment(cls) -> "Patience":
        """Return what ``EPITAXY_TRIES``, ``EPITAXY_WAIT`` and ``EPITAXY_TIMEOUT`` say."""
        said = {name: os.environ.get(f"EPITAXY_{name.upper()}") for name in cls.__annotations__}
        try:
            given = {k: (int if k == "tries" else float)(v) for k, v in said.items() if v}
        except ValueError as error:
            raise DownloadError(
                f"EPITAXY_TRIES, …_WAIT and …_TIMEOUT are numbers: {error}."
            ) from None
        return cls(**given)  # type: ignore[arg-type]

    def before(self, attempt: int, asked: float | None = None) -> float:
        """Return the seconds to wait before the attempt of this number; 0 before the first."""
        if asked is not None:
            return min(asked, self.longest)
        doubled = self.wait * 2.0 ** (attempt - 1) * random.uniform(0.8, 1.2)
        return min(doubled, self.longest) if attempt else 0.0


def in_words(size: int) -> str:
    """Return a number of bytes as people say it.

    >>> in_words(1_234_567)
    '1.2 MB'
    """
    units = ("bytes", "kB", "MB", "GB", "TB")
    step = min(sum(size >= 1000**power for power in range(1, len(units))), len(units) - 1)
    return f"{size / 1000**step:.{1 if step else 0}f} {units[step]}"


def request(
    address: str, headers: dict[str, str], timeout: float
) -> "contextlib.AbstractContextManager[Any]":
    """Open an address; raises what urllib raises."""
    name = f"epitaxy/{_version()}"
    asked = urllib.request.Request(address, headers={"User-Agent": name, **headers})
    opener = urllib.request.build_opener()  # anew, because the proxies may be other ones now
    return opener.open(asked, timeout=timeout)


def _version() -> str:
    try:
        return version("epitaxy")
    except PackageNotFoundError:
        return "unknown"


@contextlib.contextmanager
def passing_faults(address: str) -> Iterator[None]:
    """Turn what urllib raises into what another attempt may mend, or into a DownloadError."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _PASSING:
            said = error.headers.get("Retry-After", "") if error.headers else ""
            wait = float(said) if re.fullmatch(r"\d+", said.strip()) else None
            raise InterruptedTransferError(f"{error.code} {error.reason}", wait) from error
        raise DownloadError(
            f"{address}: the server answers {error.code} {error.reason}."
        ) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"{address}: the server's certificate is not trusted ({error.reason.verify_message}"
                "). Behind a company's proxy, SSL_CERT_FILE names its certificates."
            ) from error
        if not isinstance(error.reason, OSError):
            raise DownloadError(f"{address}: {error.reason}.") from error
        reason = f"no connection: {error.reason}"
        raise InterruptedTransferError(reason, connected=False) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        text = str(error) or type(error).__name__
        raise InterruptedTransferError(text) from error


def patiently(
    address: str, work: Callable[[], bool], patience: Patience, say: Say, grown: Callable[[], int]
) -> None:
    """Call ``work`` until it says that it is done, waiting longer after each fruitless attempt.

    ``grown`` tells how far it has come: an attempt that got farther does not count. Raises
    NoConnectionError, or DownloadError where the server could be reached.
    """
    attempt, reached = 0, False
    while True:
        before = grown()
        try:
            with passing_faults(address):
                if work():
                    return
            attempt = 0
            continue
        except InterruptedTransferError as error:
            reason, asked, reached = str(error), error.wait, reached or error.connected
        attempt = 1 if grown() > before else attempt + 1
        if attempt >= (patience.tries if reached else min(patience.tries, _UNREACHED)):
            kind = DownloadError if reached else NoConnectionError
            raise kind(f"{address}: {reason} ({attempt} attempts).")
        seconds = patience.before(attempt, asked)
        say(f"{reason}; trying again in {seconds:.0f} s")
        time.sleep(seconds)
