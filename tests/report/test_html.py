"""The page of a run stands alone, and the terminal's table stays narrow."""

import base64
import html.parser
import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from epitaxy.errors import InputError
from epitaxy.report.console import print_results
from epitaxy.report.html import write_report
from epitaxy.report.plots.style import save
from epitaxy.report.tables import readable


@pytest.fixture
def results():
    return pd.DataFrame(
        {
            "target": "band_gap",
            "contender": ["scratch", "pre-trained"],
            "mae": [0.3221, 0.2551],
            "mae_low": [0.2914, 0.2213],
            "mae_high": [0.3543, 0.2934],
            "difference": [np.nan, 0.0669],
            "difference_low": [np.nan, -0.0264],
            "difference_high": [np.nan, 0.1091],
            "improvement_percent": [np.nan, 20.79],
            "improvement_low": [np.nan, -8.62],
            "improvement_high": [np.nan, 31.96],
            "seeds": [5, 5],
            "train": pd.Series([200, 200], dtype="Int64"),
            "test": [1300, 1300],
            "unit": "eV",
        }
    )


@pytest.fixture
def figure_paths(tmp_path):
    figure = Figure()
    figure.add_subplot().plot([0, 1], [0, 1])
    return save(figure, tmp_path / "figure")


def write_page(folder, results, figure_paths, title="A run"):
    png, svg = figure_paths
    return write_report(
        folder / "report",
        title,
        f"{title} helps by 5 %.",
        {f"{title} table": results},
        {f"{title} png": png, f"{title} svg": svg},
        notes=[f"{title} note"],
        manifest={f"{title} key": {"value": title}, "seeds": [0, 1]},
    ).read_text(encoding="utf-8")


class Sources(html.parser.HTMLParser):
    """Collect what a page would load, and the text of its cells."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.loads = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [
            value
            for name, value in attributes
            if name in ("src", "href", "srcset", "data") and not value.startswith("#")
        ]


def test_the_page_loads_nothing_from_elsewhere(tmp_path, results, figure_paths):
    page = write_page(tmp_path, results, figure_paths)
    sources = Sources(page)
    assert len(sources.loads) == 2
    assert all(source.startswith("data:image/") for source in sources.loads)
    assert not {"link", "iframe", "object"} & set(sources.tags)
    assert sources.tags.count("script") == 1
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", page)
    assert "default-src 'none'" in page


def test_the_images_are_embedded_byte_for_byte(tmp_path, results, figure_paths):
    sources = Sources(write_page(tmp_path, results, figure_paths)).loads
    for source, path, kind in zip(sources, figure_paths, ("png", "svg+xml"), strict=True):
        head, content = source.split(",")
        assert head == f"data:image/{kind};base64"
        assert base64.b64decode(content) == path.read_bytes()


def test_text_is_escaped_everywhere(tmp_path, results, figure_paths):
    attack = "<script>alert('x')</script>\""
    spoiled = results.assign(contender=[attack, "b"]).rename(columns={"seeds": attack})
    page = write_page(tmp_path, spoiled, figure_paths, title=attack)
    assert page.count("<script") == 1
    assert page.count("&lt;script&gt;") >= 8
    assert Sources(page).tags.count("script") == 1


def test_the_verdict_comes_before_tables_figures_notes_and_manifest(
    tmp_path, results, figure_paths
):
    page = write_page(tmp_path, results, figure_paths)
    order = ["A run helps", "A run table", "A run png", "A run note", "<details>", "A run key"]
    places = [page.index(text) for text in order]
    assert places == sorted(places)


def test_a_page_needs_no_figures_notes_or_manifest(tmp_path, results):
    page = write_report(tmp_path, "A run", "No evidence.", {"Results": results}, {})
    assert "<details>" not in page.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_numbers_are_aligned_and_negative_ones_have_a_minus(tmp_path, results, figure_paths):
    page = write_page(tmp_path, results, figure_paths)
    assert '<td class="number ">21 (−9 to 32)</td>' in page
    assert '<td class="">pre-trained</td>' in page


def test_a_figure_that_is_missing_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        write_report(tmp_path, "A run", "", {}, {"lost": tmp_path / "lost.png"})
    with pytest.raises(InputError, match="neither PNG nor SVG"):
        write_report(tmp_path, "A run", "", {}, {"page": tmp_path / "figure.pdf"})


def test_a_readable_table_folds_intervals_units_and_what_rows_share(results):
    table = readable(results)
    assert table.headings == ("contender", "MAE [eV]", "MAE saved [eV]", "improvement [%]")
    assert table.rows[0] == ("scratch", "0.322 (0.291 to 0.354)", "–", "–")
    assert table.rows[1][1:3] == ("0.255 (0.221 to 0.293)", "0.067 (-0.026 to 0.109)")
    assert table.numeric == (False, True, True, True)
    assert table.caption == (
        "target: band_gap, seeds: 5, training crystals: 200, test crystals: 1,300"
    )


def test_what_rows_do_not_share_stays_in_columns(results):
    table = readable(results.assign(seeds=[3, 5], unit=["eV", "eV/atom"]))
    assert {"seeds", "unit", "MAE"} <= set(table.headings)


def test_the_terminal_table_fits_eighty_columns_without_colors(results):
    stream = io.StringIO()
    long = results.assign(contender=["scratch", "pre-trained on a great many crystals"])
    print_results(long, "pre-trained helps.", console=Console(file=stream))
    printed = stream.getvalue()
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert "0.255 (0.221 to 0.293)" in printed
    assert printed.rstrip().endswith("pre-trained helps.")


def test_the_terminal_table_survives_an_ascii_pipe(results):
    pipe = io.BytesIO()
    stream = io.TextIOWrapper(pipe, encoding="ascii")
    print_results(results.assign(unit="eV/Å"), console=Console(file=stream))
    stream.flush()
    assert b"MAE [eV/?]" in pipe.getvalue()


def test_names_in_brackets_are_not_taken_for_markup(results):
    stream = io.StringIO()
    print_results(
        results.assign(contender=["[red]scratch[/red]", "[/nonsense]"]),
        console=Console(file=stream),
    )
    assert "[red]scratch[/red]" in stream.getvalue()
