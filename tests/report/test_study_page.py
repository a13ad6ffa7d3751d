"""The page of a study says everything, escapes everything, and stays small."""

import html.parser
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from epitaxy.report.charts.frame import looks
from epitaxy.report.study import read_study
from epitaxy.report.study_page import LARGEST_PAGE, study_page, write_study
from epitaxy.report.task import task_of


class Page(html.parser.HTMLParser):
    """Tags, attributes that load, and text of a page, scripts and styles aside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.words, self.inside = [], [], [], ""
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.words.append(data)


@pytest.fixture(scope="module")
def written(study_folder, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("page")
    return write_study(folder, read_study(study_folder), figures=False).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(written) -> Page:
    return Page(written)


def test_the_verdict_comes_before_everything_else(page):
    order = [
        "The fingerprint pre-training helps on 4 of 5",
        "Who is better, where",
        "Controls",
        "What is missing",
        "Task: formation_energy",
        "What representations look like",
        "How it was made",
    ]
    places = [page.text.rindex(one) for one in order[1:]]
    assert page.text.index(order[0]) < places[0]
    assert places[3:] == sorted(places[3:])


def test_every_section_of_a_task_is_there(page):
    for title in (
        "Test errors",
        "Predicted against true, 400 training crystals",
        "Errors by element",
        "The spread over seeds as an uncertainty",
        "During training",
        "Crystals with the largest errors",
        "Published figures",
        "What the audit found",
    ):
        assert title in page.text, title


def test_failed_runs_are_holes_with_their_reason(page):
    assert "7 of 180 runs failed" in page.text
    assert "failed: the loss is not finite at step 310" in page.text
    assert "2 of 3 runs" in page.text


def test_the_mean_over_tasks_is_left_out_where_a_task_is_missing(written):
    row = re.search(r"<td class=\"\">fingerprint .*?</tr>", written, flags=re.S).group()
    assert re.findall(r"<td[^>]*>([^<]*)", row)[-1] == "–"


def test_controls_are_reported_beside_the_best_pretraining(page):
    assert "Controls beside the best pre-training" in page.text
    assert "shuffled fingerprint control" in page.text


def test_a_control_that_gains_is_said_to(study_folder):
    study = read_study(study_folder)
    results = study.results.copy()
    won = results["contender"] == "shuffled fingerprint"
    results.loc[won, ["improvement_low", "improvement_percent"]] = [3.0, 9.0]
    tasks = [task_of(study, name) for name in study.tasks[:1]]
    text = study_page(replace(study, results=results), tasks, looks(study.contenders), 100)
    assert "That much of a gain is not owed to what the control leaves out" in text


def test_published_figures_say_what_differs(page):
    assert "60/20/20 split of 132,752 crystals, 5 seeds, sum pooling" in page.text
    assert "here: fingerprint" in page.text
    assert "are no ranking" in page.text


def test_the_manifest_and_the_audit_are_there(page):
    for words in ("epitaxy benchmark study.toml", "torch: 2.13.0", "5123.4", "same crystal"):
        assert words in page.text, words


def test_nothing_is_loaded_from_anywhere(written, page):
    loads = [value for name, value in page.attributes if name in ("src", "href", "srcset", "data")]
    assert loads
    assert all(value.startswith("#") for value in loads)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", written)


def test_everything_can_be_read_without_scripts(written, page):
    assert written.count('role="img"') == written.count("<desc ")
    assert page.tags.count("caption") == page.tags.count("table")
    without = re.sub(r"<script.*?</script>", "", written, flags=re.S)
    assert without.count('data-part="dots"') == 15  # three panels in each task
    assert without.count("better</span>") > 5


def test_headings_go_down_one_level_at_a_time(page):
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_names_of_places_are_unique(page):
    names = [value for name, value in page.attributes if name == "id"]
    assert len(names) == len(set(names))
    links = [value[1:] for name, value in page.attributes if name == "href"]
    assert set(links) <= set(names)


ATTACK = "</script><img src=x onerror=\"alert('x')\">'"


def spoiled(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return table.assign(**{one: table[one].astype(str) + ATTACK for one in columns})


def test_no_text_of_the_user_becomes_a_tag(study_folder):
    study = read_study(study_folder)
    attacked = replace(
        study,
        title=ATTACK,
        sentence=ATTACK,
        verdicts=[{"task": one, "size": 100, "sentence": ATTACK} for one in study.tasks] * 9,
        records=spoiled(study.records, "contender", "unit", "reason", "setting"),
        predictions=spoiled(study.predictions, "contender", "id", "formula", "unit"),
        results=spoiled(study.results, "contender", "unit", "reference"),
        curves=spoiled(study.curves, "contender", "unit", "metric"),
        tuning=spoiled(study.tuning, "contender", "setting"),
        pretraining=spoiled(study.pretraining, "name", "objectives"),
        published=spoiled(study.published, "who", "protocol", "source"),
        maps=spoiled(study.maps, "pretraining", "id", "formula", "element"),
        audit={study.tasks[0]: {ATTACK: [{ATTACK: ATTACK}]}},
        manifest={ATTACK: {ATTACK: ATTACK}},
        notes=[ATTACK],
    )
    tasks = [task_of(attacked, name) for name in attacked.tasks]
    text = study_page(attacked, tasks, looks(attacked.contenders), 50)
    found = Page(text)
    assert "img" not in found.tags
    assert "<img" not in text
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert text.count("</script>") == text.count("<script")


def test_a_study_with_nothing_done_has_a_page(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    pd.DataFrame(
        {
            "task": ["gap"], "target": ["gap"], "unit": ["eV"], "size": [100], "seed": [0],
            "contender": ["scratch"], "label": ["ours"], "status": ["waiting"], "reason": [""],
        }
    ).to_csv(tmp_path / "records.csv", index=False)  # fmt: skip
    text = Page(write_study(tmp_path, read_study(tmp_path)).read_text(encoding="utf-8")).text
    assert "No verdict yet: 0 of 1 runs are done." in text
    assert "1 of 1 runs are not done yet." in text


def test_one_seed_says_that_there_is_no_spread(study_folder, tmp_path):
    study = read_study(study_folder)
    one = study.predictions[(study.predictions["seed"] == 0) & (study.predictions["size"] == 400)]
    text = write_study(tmp_path, replace(study, predictions=one), figures=False).read_text()
    assert "it takes two seeds" in text


def test_tasks_with_sizes_of_their_own_share_a_table_of_the_largest(study_folder):
    study = read_study(study_folder)
    results, records = study.results.copy(), study.records.copy()
    for table in (results, records):
        table.loc[(table["task"] == "band_gap") & (table["size"] == 400), "size"] = 555
    tasks = [task_of(study, name) for name in study.tasks[:1]]
    other = replace(study, results=results, records=records)
    text = study_page(other, tasks, looks(study.contenders), 100)
    assert "each task&#39;s largest training set" in text
    assert "band_gap (555)" in text
    assert "Improvement over the reference [%], 100 training crystals" in text
    assert "555 training crystals</caption>" not in text


@pytest.mark.slow
def test_figures_and_tables_lie_beside_the_page(study_folder, tmp_path):
    study = read_study(study_folder)
    first = study.tasks[0]
    one = replace(
        study,
        **{
            name: table[table["task"] == first]
            for name in ("records", "results", "predictions", "curves", "maps")
            for table in [getattr(study, name)]
        },
    )
    write_study(tmp_path, one)
    kinds = ("parity", "elements", "sizes", "calibration", "curves", "map_pca", "map_tsne")
    for name in ["improvements", *(f"formation_energy_{kind}" for kind in kinds)]:
        for suffix in ("png", "svg"):
            assert (tmp_path / "figures" / f"{name}.{suffix}").stat().st_size > 1000
    markdown = (tmp_path / "tables" / "results.md").read_text()
    assert "| fingerprint |" in markdown
    assert (tmp_path / "tables" / "results.tex").read_text().count(r"\\") == 13
    assert len(pd.read_csv(tmp_path / "tables" / "results.csv")) == 12


@pytest.mark.slow
def test_ten_tasks_of_a_thousand_crystals_stay_below_five_megabytes(tmp_path, study_folder):
    study = read_study(study_folder)
    first = study.tasks[0]
    old = study.predictions[(study.predictions["task"] == first)]
    old = old[old["size"] == 400]
    rng = np.random.default_rng(0)
    grown = {name: [] for name in ("records", "results", "predictions", "curves", "maps")}
    for task in (f"task_{number}" for number in range(10)):
        for name in ("records", "results", "curves"):
            table = getattr(study, name)
            grown[name].append(table[table["task"] == first].assign(task=task))
        for copy in range(20):
            more = old.assign(task=task, id=old["id"] + f"-a-longer-name-{copy}")
            noise = rng.normal(size=len(more))
            grown["predictions"].append(more.assign(value=more["value"] + 0.1 * noise))
            some = study.maps[study.maps["task"] == first]
            grown["maps"].append(some.assign(task=task, id=some["id"] + f"-{copy}"))
    large = replace(study, **{name: pd.concat(many) for name, many in grown.items()})
    text = write_study(tmp_path, large, figures=False).read_text(encoding="utf-8")
    assert 1_000_000 < len(text.encode()) <= LARGEST_PAGE
    assert "1,000 of 1,200 crystals are drawn" in text
