"""The cache of public files: fetched once, checked always, shared by processes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from epitaxy.datasets.cards import CardError, card_named, catalogue
from epitaxy.datasets.servers import ChecksumError, NoConnectionError
from epitaxy.datasets.store import LicenceError, MissingFileError, get_dataset, state_of

CONTENT = bytes(range(256)) * 4000
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cards(tmp_path, monkeypatch, cache):
    """Give what writes cards, which EPITAXY_CARDS names."""
    path = tmp_path / "cards.toml"
    path.write_text("")
    monkeypatch.setenv("EPITAXY_CARDS", str(path))

    def write(name: str, address: str = "", sha256: str = "", more: str = "") -> None:
        addresses = f'["{address}"]' if address else "[]"
        with path.open("a") as file:
            file.write(
                f'[{name}]\ntitle = "Ours"\nreading = {{ form = "table_json" }}\n{more}\n'
                f'files = [{{ name = "ours.json.gz", addresses = {addresses}, '
                f'sha256 = "{sha256}" }}]\n'
            )

    return write


def process(*arguments: str) -> subprocess.Popen:
    def hear_interrupts() -> None:  # a job in the background may have been told to ignore them
        signal.signal(signal.SIGINT, signal.default_int_handler)

    return subprocess.Popen(
        [sys.executable, "-m", "epitaxy.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        preexec_fn=hear_interrupts,
    )


def test_every_card_that_is_shipped_is_whole(cache):
    known = catalogue()
    assert len(known) >= 30
    matbench = [card for name, card in known.items() if name.startswith("matbench_")]
    assert len(matbench) == 9
    assert all(card.verified and card.entries and card.split and card.doi for card in matbench)
    assert {card.split.seed for card in matbench} == {18012019}
    for card in known.values():
        assert card.verified or card.obtain, card.name
        assert card.targets or card.open_targets, card.name
        assert card.by_hand or card.remote or all(file.addresses for file in card.files)


def test_units_of_the_shipped_cards_convert_where_the_file_has_another(cache):
    from epitaxy.units import conversion_factor

    stresses = [
        target
        for card in catalogue().values()
        for target in card.targets.values()
        if target.source_unit
    ]
    assert {(one.source_unit, one.sign) for one in stresses} == {("kbar", -1)}
    assert all(
        conversion_factor("kbar", one.unit) == pytest.approx(1 / 1602.1766) for one in stresses
    )


def test_a_file_is_fetched_once_and_then_needs_no_network(server, cards, command):
    server.serve("/ours", CONTENT)
    cards("ours", f"{server.base}/ours", HASH)
    first = command("data", "get", "ours")
    again = command("data", "get", "ours")
    assert first[0] == again[0] == 0
    assert first[1] == again[1]
    assert "ours.json.gz" in first[1]
    assert len(server.asked) == 1
    server.files.clear()
    assert get_dataset("ours")[0].read_bytes() == CONTENT
    assert state_of(card_named("ours")) == "here"


def test_without_a_network_the_error_says_what_is_here(server, cards, command):
    server.serve("/ours", CONTENT)
    cards("ours", f"{server.base}/ours", HASH)
    cards("other", "http://127.0.0.1:9/other", HASH)
    command("data", "get", "ours")
    status, _, error = command("data", "get", "other")
    assert status == 1
    assert error.splitlines()[-1].endswith(": ours.")
    with pytest.raises(NoConnectionError):
        get_dataset("other")


def test_an_unknown_name_is_answered_with_the_nearest(cache, command):
    status, _, error = command("data", "get", "matbench_jdf2d")
    assert status == 1
    assert "Did you mean 'matbench_jdft2d'" in error
    assert command("data", "info", "jarvis")[2].count("jarvis_dft") >= 1


def test_list_and_info_show_what_the_cards_say(server, cards, command):
    server.serve("/ours", CONTENT)
    cards("ours", f"{server.base}/ours", HASH)
    before = command("data", "list")[1]
    assert "to get" in next(line for line in before.splitlines() if line.startswith("ours "))
    command("data", "get", "ours")
    after = command("data", "list")[1]
    assert "here" in next(line for line in after.splitlines() if line.startswith("ours "))
    shown = command("data", "info", "matbench_perovskites")[1]
    for text in ("18928", "heat_of_formation [eV]", "extensive", "kfold", "4641e2417f8e", "doi:"):
        assert text in shown


def test_a_wrong_hash_ends_the_command(server, cards, command):
    server.serve("/ours", b"an error page")
    cards("ours", f"{server.base}/ours", HASH)
    status, _, error = command("data", "get", "ours")
    assert status == 1
    assert HASH in error
    assert "Traceback" not in error


def test_without_a_known_hash_the_first_one_is_recorded_and_kept_to(server, cards, cache):
    served = server.serve("/ours", CONTENT)
    cards("ours", f"{server.base}/ours")
    said = []
    path = get_dataset("ours", say=said.append)[0]
    assert any(HASH in text for text in said)
    record = json.loads(path.with_name("ours.json.gz.record.json").read_text())
    assert (record["sha256"], record["verified"]) == (HASH, "recorded at first use")
    path.unlink()
    served.content = CONTENT[::-1]
    with pytest.raises(ChecksumError, match="recorded when the file first came"):
        get_dataset("ours")
    served.content = CONTENT
    assert get_dataset("ours")[0].read_bytes() == CONTENT


def test_a_file_that_was_damaged_here_is_noticed(server, cards, cache):
    server.serve("/ours", CONTENT)
    cards("ours", f"{server.base}/ours", HASH)
    path = get_dataset("ours")[0]
    state = path.stat()
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(ChecksumError, match="damaged"):
        get_dataset("ours")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a bad disk would
    assert get_dataset("ours") == [path]
    with pytest.raises(ChecksumError, match="damaged"):
        get_dataset("ours", verify=True)


def test_what_has_no_address_is_explained_and_taken_by_hand(cards, cache, command, tmp_path):
    cards("ours", more='obtain = "Ask the neighbors."')
    status, _, error = command("data", "get", "ours")
    assert status == 1
    assert "Ask the neighbors." in error
    assert str(cache / "datasets" / "ours") in error
    (tmp_path / "download.gz").write_bytes(CONTENT)
    status, out, _ = command("data", "get", "ours", "--file", str(tmp_path / "download.gz"))
    assert status == 0
    assert out.strip().endswith("ours.json.gz")
    assert get_dataset("ours")[0].read_bytes() == CONTENT


def test_a_file_put_into_its_folder_is_recorded(cards, cache):
    cards("ours", sha256=HASH)
    folder = cache / "datasets" / "ours"
    folder.mkdir(parents=True)
    (folder / "ours.json.gz").write_bytes(b"something else")
    with pytest.raises(ChecksumError):
        get_dataset("ours")
    (folder / "ours.json.gz").write_bytes(CONTENT)
    assert get_dataset("ours") == [folder / "ours.json.gz"]


def test_a_file_given_by_hand_must_be_the_one_that_the_card_means(cards, cache, tmp_path):
    cards("ours", sha256=HASH)
    (tmp_path / "ours").write_bytes(CONTENT + b"x")
    with pytest.raises(ChecksumError, match="another version"):
        get_dataset("ours", given=[tmp_path / "ours"])
    assert not (cache / "datasets" / "ours" / "ours.json.gz").exists()


def test_terms_have_to_be_accepted_once(server, cards, command):
    server.serve("/ours", CONTENT)
    cards("ours", f"{server.base}/ours", HASH, 'licence = "No trade"\naccept_licence = true')
    status, _, error = command("data", "get", "ours")
    assert status == 1
    assert "No trade" in error
    assert "--accept-licence" in error
    with pytest.raises(LicenceError):
        get_dataset("ours")
    assert not server.asked
    assert command("data", "get", "ours", "--accept-licence")[0] == 0
    (get_dataset("ours")[0]).unlink()
    assert get_dataset("ours")


def test_two_processes_fetch_a_file_once(server, cards):
    served = server.serve("/ours", CONTENT, gate=threading.Event())
    cards("ours", f"{server.base}/ours", HASH)
    one = process("data", "get", "ours")
    assert served.half.wait(120)
    other = process("data", "get", "ours")
    assert "waiting for it" in other.stderr.readline()
    served.gate.set()
    outputs = [each.communicate(timeout=120)[0] for each in (one, other)]
    assert one.returncode == other.returncode == 0
    assert outputs[0] == outputs[1]
    assert len(server.asked) == 1


def test_an_interrupted_command_goes_on_where_it_was(server, cards, cache):
    served = server.serve("/ours", CONTENT, gate=threading.Event())
    cards("ours", f"{server.base}/ours", HASH)
    part = cache / "datasets" / "ours" / "ours.json.gz.part"
    halted = process("data", "get", "ours")
    assert served.half.wait(120)
    wait_for(lambda: part.exists() and part.stat().st_size == len(CONTENT) // 2)
    halted.send_signal(signal.SIGINT)
    error = halted.communicate(timeout=120)[1]
    assert halted.returncode == 130
    assert "the same command goes on" in error
    assert "Traceback" not in error
    assert state_of(card_named("ours")) == "partly"
    served.gate.set()
    assert get_dataset("ours")[0].read_bytes() == CONTENT
    assert server.asked[-1].range == f"bytes={len(CONTENT) // 2}-"
    assert server.asked[-1].sent == len(CONTENT) // 2


def test_a_killed_command_leaves_no_lock_behind(server, cards, cache):
    served = server.serve("/ours", CONTENT, gate=threading.Event())
    cards("ours", f"{server.base}/ours", HASH)
    killed = process("data", "get", "ours")
    assert served.half.wait(120)
    killed.kill()
    killed.communicate(timeout=120)
    served.gate.set()
    assert get_dataset("ours")[0].read_bytes() == CONTENT


def test_a_card_replaces_an_earlier_one_of_its_name(server, cards, cache):
    server.serve("/mirror", CONTENT)
    cards("matbench_jdft2d", f"{server.base}/mirror", HASH)
    assert card_named("matbench_jdft2d").title == "Ours"
    assert get_dataset("matbench_jdft2d")[0].read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[a]\ntitle = 1\n", "title: Input should be a valid string"),
        ('[a]\ntitle = "a"\nfils = []\n', "fils: Extra inputs"),
        ("[a\n", "cannot be read as TOML"),
        ("a = 1\n", "'a' is no table"),
        ('[a]\ntitle="a"\nreading={form="zip"}\nfiles=[{name="x"}]', "reading.form"),
        ('[a]\ntitle="a"\nreading={form="xyz"}\nfiles=[{name="../x"}]', "files.0.name"),
        ('[a]\ntitle="a"\nreading={form="xyz"}\nfiles=[{name="x",sha256="1"}]', "sha256"),
        (
            '[a]\ntitle="a"\nreading={form="xyz"}\nfiles=[{name="x",addresses=["ftp://x"]}]',
            "addres",
        ),
        (
            '[a]\ntitle="a"\nreading={form="xyz"}\nfiles=[{name="*",addresses=["http://x"]}]',
            "several",
        ),
    ],
)
def test_a_card_that_does_not_fit_is_named_with_its_key(tmp_path, cache, text, complaint):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(CardError, match=r"own\.toml") as raised:
        catalogue(path)
    assert complaint in str(raised.value)


def test_a_file_of_cards_that_is_not_there_is_named(tmp_path, cache, command):
    status, _, error = command("data", "list", "--cards", str(tmp_path / "none.toml"))
    assert status == 1
    assert "none.toml" in error


def test_files_without_an_address_are_no_download(cache):
    with pytest.raises(MissingFileError, match=r"doi 10\.6084"):
        get_dataset("mpf_2021_2_8_relaxed")


def wait_for(condition, seconds: float = 120.0) -> None:
    import time

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
