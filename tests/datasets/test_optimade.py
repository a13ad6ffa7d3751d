"""Structures of OPTIMADE providers, page after page, from a provider on this machine."""

import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from epitaxy.datasets.optimade import atoms_of_attributes, fetch_structures
from epitaxy.datasets.servers import DownloadError, Patience
from epitaxy.errors import InputError

QUICK = Patience(tries=3, wait=0.01, timeout=5.0)
pytestmark = pytest.mark.usefixtures("cache")


class Provider(ThreadingHTTPServer):
    """Answers with rock salt of different sizes, three to a page."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Pages)
        self.total = 8
        self.asked: list[dict[str, str]] = []
        self.statuses: dict[int, list[int]] = {}  # by offset: answered before anything else
        self.link = str  # how the next link is written
        self.base = f"http://127.0.0.1:{self.server_address[1]}"


class Pages(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        self.server.asked.append({"path": parts.path, **query})
        start = int(query.get("page_offset", 0))
        if self.server.statuses.get(start):
            return self._answer(self.server.statuses[start].pop(0), {})
        if query.get("filter") == "nonsense":
            return self._answer(400, {"errors": [{"detail": "cannot parse 'nonsense'"}]})
        rows = range(start, min(start + 3, self.server.total))
        following = None
        if rows.stop < self.server.total:
            asked = urllib.parse.urlencode({**query, "page_offset": rows.stop})
            following = self.server.link(f"{self.server.base}{parts.path}?{asked}")
        data = [] if query.get("filter") == "nothing" else [resource(row) for row in rows]
        meta = {"data_returned": self.server.total}
        self._answer(200, {"data": data, "links": {"next": following}, "meta": meta})

    def _answer(self, status: int, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        pass


def resource(row: int) -> dict:
    edge = 3.5 + 0.1 * row
    species = [
        {"name": name, "chemical_symbols": [name], "concentration": [1.0]} for name in ("Na", "Cl")
    ]
    return {
        "id": f"salt-{row}",
        "type": "structures",
        "attributes": {
            "lattice_vectors": [[edge, 0, 0], [0, edge, 0], [0, 0, edge]],
            "cartesian_site_positions": [[0, 0, 0], [edge / 2] * 3],
            "species": species,
            "species_at_sites": ["Na", "Cl"],
            "dimension_types": [1, 1, 1],
            "_our_gap": 5.0 + row,
        },
    }


@pytest.fixture
def provider():
    server = Provider()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ids(path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_all_pages_are_joined(provider, tmp_path):
    path = tmp_path / "structures.jsonl"
    assert (
        fetch_structures(provider.base, "nelements=2", path, fields=["_our_gap"], patience=QUICK)
        == 8
    )
    assert ids(path) == [f"salt-{row}" for row in range(8)]
    assert len(provider.asked) == 3
    assert {one["path"] for one in provider.asked} == {"/v1/structures"}
    assert provider.asked[0]["filter"] == "nelements=2"
    assert "_our_gap" in provider.asked[0]["response_fields"]


def test_a_link_may_be_an_object_or_relative(provider, tmp_path):
    provider.link = lambda link: {"href": link}
    fetch_structures(f"{provider.base}/v1", "", tmp_path / "a.jsonl", patience=QUICK)
    provider.link = lambda link: link.removeprefix(provider.base)
    fetch_structures(f"{provider.base}/v1/", "", tmp_path / "b.jsonl", patience=QUICK)
    assert ids(tmp_path / "a.jsonl") == ids(tmp_path / "b.jsonl")


def test_a_limit_ends_within_a_page(provider, tmp_path):
    assert fetch_structures(provider.base, "", tmp_path / "a", limit=4, patience=QUICK) == 4
    assert ids(tmp_path / "a") == [f"salt-{row}" for row in range(4)]
    assert len(provider.asked) == 2


def test_a_later_call_goes_on_after_the_pages_that_came(provider, tmp_path):
    provider.statuses[3] = [503] * 3
    with pytest.raises(DownloadError, match="503"):
        fetch_structures(provider.base, "", tmp_path / "a", patience=QUICK)
    with (tmp_path / "a.part").open("a") as file:
        file.write('{"id": "half a pa')
    provider.asked.clear()
    fetch_structures(provider.base, "", tmp_path / "a", patience=QUICK)
    assert ids(tmp_path / "a") == [f"salt-{row}" for row in range(8)]
    assert provider.asked[0]["page_offset"] == "3"
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_what_the_provider_says_of_a_query_is_repeated(provider, tmp_path):
    with pytest.raises(DownloadError, match="cannot parse 'nonsense'"):
        fetch_structures(provider.base, "nonsense", tmp_path / "a", patience=QUICK)
    with pytest.raises(DownloadError, match="no structures for the filter 'nothing'"):
        fetch_structures(provider.base, "nothing", tmp_path / "a", patience=QUICK)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("link", "complaint"),
    [("file:///etc/hostname", "which is no page"), ("same", "in a circle")],
)
def test_a_link_that_leads_astray_is_not_followed(provider, tmp_path, link, complaint):
    def written(following: str) -> str:
        first = urllib.parse.urlencode({k: v for k, v in provider.asked[-1].items() if k != "path"})
        return f"{provider.base}/v1/structures?{first}" if link == "same" else link

    provider.link = written
    with pytest.raises(DownloadError, match=complaint):
        fetch_structures(provider.base, "", tmp_path / "a", patience=QUICK)


def test_sites_shared_by_elements_are_refused():
    attributes = resource(0)["attributes"]
    mixed = {"name": "Na", "chemical_symbols": ["Na", "K"], "concentration": [0.5, 0.5]}
    with pytest.raises(InputError, match="disordered"):
        atoms_of_attributes({**attributes, "species": [mixed]})
    named = [{"name": "Na", "chemical_symbols": ["K"], "concentration": [1.0]}]
    assert atoms_of_attributes({**attributes, "species": named}).get_chemical_symbols() == [
        "K",
        "Cl",
    ]
    with pytest.raises(InputError, match="cannot be read"):
        atoms_of_attributes({**attributes, "species_at_sites": ["X9", "Cl"]})
    with pytest.raises(InputError, match="lattice_vectors"):
        atoms_of_attributes({**attributes, "lattice_vectors": None})


def test_slabs_keep_their_directions():
    attributes = {**resource(0)["attributes"], "dimension_types": [1, 1, 0]}
    attributes["lattice_vectors"] = [[3.5, 0, 0], [0, 3.5, 0], [None, None, None]]
    atoms = atoms_of_attributes(attributes)
    assert atoms.pbc.tolist() == [True, True, False]
    assert atoms.cell[2].tolist() == [0, 0, 0]


def test_a_provider_is_a_data_set(provider, cache, tmp_path, command):
    from epitaxy.crystals.exchange import read_parquet
    from epitaxy.datasets.catalogue import load_dataset

    asked = {"provider": provider.base, "query": {"filter": "nelements=2"}}
    crystals = load_dataset("optimade", targets=["_our_gap[eV]"], **asked)
    assert crystals.target("_our_gap").values.tolist() == [5.0 + row for row in range(8)]
    assert crystals.target("_our_gap").unit == "eV"
    count = len(provider.asked)
    load_dataset("optimade", targets=["_our_gap[eV]"], **asked)
    assert len(provider.asked) == count
    status, out, _ = command(
        "data", "convert", "optimade", "--out", str(tmp_path / "a.parquet"), "--limit", "2",
        "--provider", provider.base, "--query", "filter=nelements=2",
    )  # fmt: skip
    assert (status, "Read 2 of 2" in out) == (0, True)
    assert list(read_parquet(tmp_path / "a.parquet").ids) == ["salt-0", "salt-1"]
    assert command("data", "convert", "optimade")[0] == 1
    with pytest.raises(InputError, match="'filter' alone"):
        load_dataset("optimade", provider=provider.base, query={"elements": "Na"})


def test_a_conversion_into_the_cache_is_reported_as_the_one_that_was_asked_for(provider, command):
    """Not as the one that was made last."""
    asked = ("data", "convert", "optimade", "--provider", provider.base)
    assert "Read 8 of 8" in command(*asked)[1]
    assert "Read 2 of 2" in command(*asked, "--limit", "2")[1]
    assert "Read 8 of 8" in command(*asked)[1]
