"""Tables as papers print them, of records that are made up."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from epitaxy.datasets.bundled import bundled
from epitaxy.evaluation.study.plan import Data, Plan, TaskData
from epitaxy.evaluation.study.progress import Clock
from epitaxy.evaluation.study.records import RESULT_COLUMNS, Records, complete
from epitaxy.evaluation.study.rows import Row
from epitaxy.evaluation.study.specification import parse_study
from epitaxy.evaluation.study.splits import Splits
from epitaxy.evaluation.study.tables import PaperTable, paper_tables, write_tables
from epitaxy.evaluation.study.works import BaselineWork

ROWS = (
    Row("scratch", "scratch", "ours"),
    Row("fp [3]", "fp", "ours", reference="scratch", values={"pretraining.epoch": 3}),
    Row("fp [6]", "fp", "ours", reference="scratch", values={"pretraining.epoch": 6}),
)
GAINS = {("a", 100): (5, 1, 9), ("a", 500): (-4, -8, 1), ("b", 100): (3, -2, 7)}


@pytest.fixture
def plan():
    study = parse_study(
        {"name": "x", "seeds": 3, "tasks": [{"source": "bundled", "target": "y"}]}, "x"
    )
    data, nothing = Data.of(bundled()[:4]), pd.DataFrame({"who": [], "task": []})
    tasks = tuple(
        TaskData(name, "y", "eV", study.tasks[0], data, Splits({}, sizes, (None,)), nothing)
        for name, sizes in (("a", {100: 100, 500: 500}), ("b", {100: 100, 381: 500}))
    )
    return Plan(study, tasks, (), ROWS, ({},))


@pytest.fixture
def found():
    lines = []
    for (task, size), gain in GAINS.items():
        for row in ROWS:
            known = gain if row.reference else (np.nan,) * 3
            numbers = (0.5, 0.4, 0.6, row.reference or "", *known, 60.0, 3, size, 20, "eV")
            lines.append((task, size, row.name, row.label, *numbers))
    records = pd.DataFrame(
        [("b", 381, "fp [3]", 0, "failed", "it diverged.")],
        columns=["task", "size", "contender", "seed", "status", "reason"],
    )
    empty = pd.DataFrame({"who": [], "task": []})
    return Records(
        records=records,
        predictions=empty,
        results=pd.DataFrame(lines, columns=list(RESULT_COLUMNS)),
        curves=empty,
        tuning=empty,
        pretraining=empty,
        published=empty,
        maps=empty,
        verdicts=(),
        sentence="",
    )


def test_a_gain_is_bold_where_its_interval_leaves_out_zero(plan, found):
    table = paper_tables(plan, found)["improvements-100"]
    assert table.headings == ("contender", "label", "a", "b", "mean")
    assert table.rows[0] == (
        "fp [3]",
        "ours",
        "**+5.0 (+1.0 to +9.0)**",
        "+3.0 (-2.0 to +7.0)",
        "+4.0",
    )


def test_a_hole_has_no_mean_and_says_why(plan, found):
    table = paper_tables(plan, found)["improvements-500"]
    assert table.rows[0][2:] == ("-4.0 (-8.0 to +1.0)", "–", "–")
    assert "b: 381 training crystals." in table.notes
    assert "Failed: b, fp [3], seed 0: it diverged." in table.notes


def test_wins_are_counted_over_sizes_and_tasks(plan, found):
    table = paper_tables(plan, found)["sizes"]
    assert table.headings == ("contender", "label", "task", "100", "500")
    assert table.notes[0] == (
        "fp [3] (ours): lower error than scratch in 2 of 3 configurations; the interval excludes "
        "zero in 1 of them, and in 0 it says worse."
    )


def test_a_keys_values_are_columns(plan, found):
    table = paper_tables(plan, found)["by-pretraining.epoch"]
    assert table.headings == ("contender", "label", "training crystals", "epoch=3", "epoch=6")
    assert table.rows[0] == ("fp", "ours", "100", "+4.0", "+4.0")


def test_three_forms_say_the_same(tmp_path: Path):
    table = PaperTable("A & B", ("who", "label", "x_1"), (("a|b", "ours", "**1 %**"),), ("note",))
    write_tables(tmp_path, {"one": table})
    assert (tmp_path / "tables" / "one.csv").read_text() == "who,label,x_1\na|b,ours,1 %\n"
    assert r"| a\|b | ours | **1 %** |" in (tmp_path / "tables" / "one.md").read_text()
    latex = (tmp_path / "tables" / "one.tex").read_text()
    assert r"a|b & ours & \textbf{1 \%} \\" in latex
    assert r"\caption{A \& B}" in latex


def test_a_seed_that_lacks_a_fold_is_not_counted():
    table = pd.DataFrame(
        {
            "contender": ["x"] * 5,
            "seed": [0, 0, 0, 1, 1],
            "id": ["a", "b", "c", "a", "b"],
        }
    )
    assert set(complete(table, 3)["seed"]) == {0}


def test_the_time_left_is_learned_from_what_has_ended():
    works = [BaselineWork(f"{n}", Path(f"{n}"), float(n), "fit", {}) for n in (1, 2, 3)]
    clock = Clock()
    assert clock.left(works, 2) is None
    clock.learn(works[0], 10.0)
    assert clock.left(works[1:], 2) == pytest.approx(25.0)
    assert clock.left(works[1:], 8) == pytest.approx(25.0)
