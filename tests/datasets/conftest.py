"""A server on this machine that misbehaves as told, and a cache of its own for every test."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Served:
    """A file of the server: how it is answered for, request by request."""

    content: bytes
    etag: str = '"first"'
    ranges: bool = True
    length: bool = True
    statuses: list[int] = field(default_factory=list)  # answered before anything else
    breaks: list[int] = field(default_factory=list)  # bytes after which the connection drops
    gate: threading.Event | None = None  # waits for it in the middle of the file
    half: threading.Event = field(default_factory=threading.Event)  # half of it is sent


@dataclass
class Asked:
    """One request: its path as it came, its headers, and the bytes of body that were sent."""

    path: str
    range: str | None
    if_range: str | None
    sent: int = 0


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, Served] = {}
        self.asked: list[Asked] = []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def serve(self, path: str, content: bytes, **behavior) -> Served:
        self.files[path] = Served(content, **behavior)
        return self.files[path]

    @property
    def sent(self) -> int:
        return sum(one.sent for one in self.asked)

    def handle_error(self, request, client_address) -> None:  # dropped connections are meant
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        asked = Asked(self.path, self.headers.get("Range"), self.headers.get("If-Range"))
        self.server.asked.append(asked)
        path = "/" + self.path.split("/", 3)[-1] if self.path.startswith("http") else self.path
        served = self.server.files.get(path)
        if served is None or served.statuses:
            self._refuse(404 if served is None else served.statuses.pop(0))
            return
        start, content = 0, served.content
        same = asked.if_range in (None, served.etag)
        if asked.range and served.ranges and same:
            start = int(asked.range.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self._refuse(416)
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if served.etag:
            self.send_header("ETag", served.etag)
        if served.length:
            self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Connection", "close")
        self.end_headers()
        self._send(asked, served, content[start:])

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, asked: Asked, served: Served, rest: bytes) -> None:
        until = served.breaks.pop(0) if served.breaks else len(rest)
        middle = min(until, len(rest) // 2)
        self.wfile.write(rest[:middle])
        asked.sent += middle
        served.half.set()
        if served.gate is not None:
            served.gate.wait(20)
        self.wfile.write(rest[middle:until])
        asked.sent += max(0, len(rest[middle:until]))
        self.close_connection = True

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def new_server() -> Iterator:
    """Give what starts servers; they end with the test."""
    started: list[Server] = []

    def start() -> Server:
        server = Server()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(new_server) -> Server:
    return new_server()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Give an empty cache, and no mirror, proxy or cards of whoever runs the tests."""
    for name in ("EPITAXY_MIRROR", "EPITAXY_CARDS", "HTTP_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("EPITAXY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EPITAXY_TRIES", "3")
    monkeypatch.setenv("EPITAXY_WAIT", "0.01")
    monkeypatch.setenv("EPITAXY_TIMEOUT", "5")
    return tmp_path / "cache"


@pytest.fixture
def command(capsys):
    """Give ``epitaxy …`` as people have it: exit status, output, errors."""
    import epitaxy.cli.data
    from epitaxy.errors import EpitaxyError

    def run(kind: str, *arguments: str) -> tuple[int, str, str]:
        assert kind == "data"
        status, error = 0, ""
        try:
            epitaxy.cli.data.data(list(arguments), standalone_mode=False)
        except EpitaxyError as raised:
            status, error = raised.exit_code, str(raised)
        printed = capsys.readouterr()
        return status, printed.out, printed.err + error

    return run
