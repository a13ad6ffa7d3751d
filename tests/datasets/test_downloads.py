"""Files come whole or not at all, whatever the server, the net or the disk does meanwhile."""

import hashlib
import os
import random
import subprocess
import sys

import pytest

from epitaxy.datasets.downloads import fetch
from epitaxy.datasets.servers import (
    ChecksumError,
    DiskFullError,
    DownloadError,
    NoConnectionError,
    Patience,
)

QUICK = Patience(tries=3, wait=0.01, timeout=5.0)
CONTENT = random.Random(0).randbytes(400_000)
HASH = hashlib.sha256(CONTENT).hexdigest()
pytestmark = pytest.mark.usefixtures("cache")


def get(server, destination, path="/file", **options):
    return fetch([server.base + path], destination, patience=QUICK, **options)


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if ".part" in path.name)


def test_a_file_comes_whole(server, tmp_path):
    server.serve("/file", CONTENT)
    seen = []
    found = get(server, tmp_path / "file", sha256=HASH, progress=lambda *at: seen.append(at))
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert (found.sha256, found.size, found.received) == (HASH, len(CONTENT), len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert not leftovers(tmp_path)


def test_after_a_break_only_the_rest_is_sent(server, tmp_path):
    server.serve("/file", CONTENT, breaks=[250_000, 100_000])
    found = get(server, tmp_path / "file", sha256=HASH)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [one.range for one in server.asked] == [None, "bytes=250000-", "bytes=350000-"]
    assert server.sent == found.received == len(CONTENT)
    assert all(one.if_range == '"first"' for one in server.asked[1:])


def test_a_later_call_goes_on_from_what_an_earlier_one_left(server, tmp_path):
    server.serve("/file", CONTENT, breaks=[300_000])
    with pytest.raises(DownloadError, match=r"broke after 300\.0 kB of 400\.0 kB"):
        fetch([server.base + "/file"], tmp_path / "file", patience=Patience(tries=1, timeout=5.0))
    assert leftovers(tmp_path) == ["file.part", "file.part.json"]
    assert get(server, tmp_path / "file").received == 100_000
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_without_ranges_the_whole_file_is_sent_again(server, tmp_path):
    server.serve("/file", CONTENT, ranges=False, breaks=[250_000])
    get(server, tmp_path / "file", sha256=HASH)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.sent == 250_000 + len(CONTENT)


def test_a_changed_file_is_not_glued_to_the_old_one(server, tmp_path):
    served = server.serve("/file", CONTENT, breaks=[250_000])
    with pytest.raises(DownloadError):
        fetch([server.base + "/file"], tmp_path / "file", patience=Patience(tries=1, timeout=5.0))
    served.content, served.etag = CONTENT[::-1], '"second"'
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT[::-1]


def test_a_server_that_ignores_if_range_is_found_out_by_its_etag(server, tmp_path, monkeypatch):
    served = server.serve("/file", CONTENT, breaks=[250_000])
    with pytest.raises(DownloadError):
        fetch([server.base + "/file"], tmp_path / "file", patience=Patience(tries=1, timeout=5.0))
    served.content, served.etag = CONTENT[::-1], '"second"'
    monkeypatch.setattr(served, "etag", Liar('"second"'))
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT[::-1]
    assert [bool(one.range) for one in server.asked] == [False, True, False]


class Liar(str):
    """An ETag that says it is the one that was asked for."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True


def test_without_an_etag_only_a_known_hash_lets_it_go_on(server, tmp_path):
    for name, known, again in (("a", "", len(CONTENT)), ("b", HASH, len(CONTENT) - 250_000)):
        server.serve("/" + name, CONTENT, etag="", breaks=[250_000])
        server.asked.clear()
        get(server, tmp_path / name, "/" + name, sha256=known)
        assert server.asked[-1].sent == again
        assert (tmp_path / name).read_bytes() == CONTENT


def test_pieces_that_do_not_fit_are_fetched_anew(server, tmp_path):
    server.serve("/file", CONTENT, etag="")
    (tmp_path / "file.part").write_bytes(b"x" * 250_000)
    (tmp_path / "file.part.json").write_text(
        '{"address": "", "validator": "", "total": null, "joined": false}'
    )
    get(server, tmp_path / "file", sha256=HASH)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.sent == 150_000 + len(CONTENT)


def test_a_wrong_hash_leaves_nothing_and_says_both(server, tmp_path):
    server.serve("/file", b"an error page")
    with pytest.raises(ChecksumError) as raised:
        get(server, tmp_path / "file", sha256=HASH)
    assert HASH in str(raised.value)
    assert hashlib.sha256(b"an error page").hexdigest() in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_not_asked_for_again(server, tmp_path):
    with pytest.raises(DownloadError, match="404") as raised:
        get(server, tmp_path / "file")
    assert not isinstance(raised.value, NoConnectionError)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.serve("/file", CONTENT, statuses=[500, 503])
    said = []
    get(server, tmp_path / "file", sha256=HASH, say=said.append)
    assert len(server.asked) == 3
    assert sum("trying again" in text for text in said) == 2


def test_a_server_that_stays_busy_is_given_up(server, tmp_path):
    server.serve("/file", CONTENT, statuses=[500] * 9)
    with pytest.raises(DownloadError, match=r"500.*3 attempts"):
        get(server, tmp_path / "file")
    assert len(server.asked) == 3


def test_the_addresses_are_tried_in_their_order(new_server, tmp_path):
    first, second = new_server(), new_server()
    first.serve("/file", b"another version")
    second.serve("/file", CONTENT)
    addresses = ["http://127.0.0.1:9/file", f"{first.base}/file", f"{second.base}/file"]
    found = fetch(addresses, tmp_path / "file", sha256=HASH, patience=QUICK)
    assert found.address == f"{second.base}/file"
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_no_server_at_all_is_told_from_a_server_that_refuses(server, tmp_path):
    nobody = "http://127.0.0.1:9/file"
    with pytest.raises(NoConnectionError):
        fetch([nobody], tmp_path / "file", patience=QUICK)
    with pytest.raises(DownloadError) as raised:
        fetch([nobody, f"{server.base}/none"], tmp_path / "file", patience=QUICK)
    assert not isinstance(raised.value, NoConnectionError)


def test_a_mirror_takes_the_place_of_the_servers(server, tmp_path, monkeypatch):
    server.serve("/mirror/data/file", CONTENT)
    monkeypatch.setenv("EPITAXY_MIRROR", f"{server.base}/mirror/")
    found = fetch(["https://nowhere.invalid/data/file"], tmp_path / "file", patience=QUICK)
    assert found.address == f"{server.base}/mirror/data/file"
    with pytest.raises(DownloadError, match="EPITAXY_MIRROR is"):
        fetch(["https://nowhere.invalid/other"], tmp_path / "other", patience=QUICK)


def test_a_folder_can_be_the_mirror(tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "file").write_bytes(CONTENT)
    monkeypatch.setenv("EPITAXY_MIRROR", (tmp_path / "mirror").as_uri())
    fetch(["https://nowhere.invalid/file"], tmp_path / "file", sha256=HASH, patience=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_a_proxy_is_asked_in_place_of_the_server(server, tmp_path, monkeypatch, variable):
    server.serve("/file", CONTENT)
    monkeypatch.setenv(variable, server.base)
    fetch(["http://nowhere.invalid/file"], tmp_path / "file", sha256=HASH, patience=QUICK)
    assert [one.path for one in server.asked] == ["http://nowhere.invalid/file"]


def test_a_full_disk_keeps_what_came_and_says_how_to_go_on(server, tmp_path):
    server.serve("/file", CONTENT)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from epitaxy.datasets.downloads import fetch\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
        "fetch([sys.argv[1]], Path(sys.argv[2]))\n"
    )
    limited = subprocess.run(
        [sys.executable, "-c", code, f"{server.base}/file", str(tmp_path / "file")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": ""},
        timeout=180,
        check=False,
    )
    assert "DiskFullError" in limited.stderr
    assert "150.0 kB of it are kept" in limited.stderr
    assert (tmp_path / "file.part").stat().st_size == 150_000
    assert not (tmp_path / "file").exists()
    found = get(server, tmp_path / "file", sha256=HASH)
    assert found.received == 250_000
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_file_that_cannot_fit_is_not_begun(server, tmp_path, monkeypatch):
    import shutil

    server.serve("/file", CONTENT)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    with pytest.raises(DiskFullError, match=r"400.0 kB are still to come, and 100.0 kB are free"):
        get(server, tmp_path / "file")
    assert not (tmp_path / "file.part").exists()


def test_a_damaged_note_about_a_part_is_no_reason_to_trust_it(server, tmp_path):
    server.serve("/file", CONTENT)
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    (tmp_path / "file.part.json").write_text("{")
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_file_without_a_length_comes_too(server, tmp_path):
    server.serve("/file", CONTENT, length=False)
    get(server, tmp_path / "file", sha256=HASH)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_numbers_that_are_none_are_refused(monkeypatch):
    monkeypatch.setenv("EPITAXY_TRIES", "many")
    with pytest.raises(DownloadError, match="are numbers"):
        Patience.from_environment()
