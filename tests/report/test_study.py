"""A study's folder is read as it is, whole or under way."""

import json

import pandas as pd
import pytest

from epitaxy.errors import InputError
from epitaxy.report.study import read_study, read_table


def test_all_tables_of_a_study_are_read(study_folder):
    study = read_study(study_folder)
    assert study.title == "Does a fingerprint help?"
    assert study.sentence.startswith("The fingerprint pre-training helps")
    assert study.tasks[0] == "formation_energy"
    assert study.sizes("band_gap") == [100, 400]
    assert study.target("refractive_index") == ("refractive_index", "")
    assert study.contenders[0] == "scratch"
    assert study.label("shuffled fingerprint") == "control"
    assert study.reference_of("fingerprint") == "scratch"
    assert study.reference_of("scratch") is None
    assert len(study.predictions) == 60 * 173
    assert len(study.verdicts) == 48
    assert list(study.audit) == ["formation_energy"]


def test_names_stay_text_and_numbers_become_numbers(tmp_path):
    (tmp_path / "predictions.csv").write_text(
        "task,contender,id,formula,truth,value,size\nNA,None,007,NaN,1,,5\n"
    )
    row = read_table(tmp_path, "predictions").iloc[0]
    assert list(row[["task", "contender", "id", "formula"]]) == ["NA", "None", "007", "NaN"]
    assert row["truth"] == 1.0
    assert pd.isna(row["value"])
    assert pd.isna(row["fold"])


def test_a_study_under_way_has_empty_tables_and_no_verdict(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    pd.DataFrame({"task": ["gap"] * 2, "status": ["done", "waiting"]}).to_csv(
        tmp_path / "records.csv", index=False
    )
    study = read_study(tmp_path)
    assert study.sentence == "No verdict yet: 1 of 2 runs are done."
    assert study.results.empty
    assert study.title == tmp_path.name


def test_a_list_of_verdicts_is_understood_too(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    whole = [{"sentence": "All in all."}, {"task": "gap", "size": 5, "sentence": "Here."}]
    (tmp_path / "verdicts.json").write_text(json.dumps(whole))
    study = read_study(tmp_path)
    assert study.sentence == "All in all."
    assert [one["sentence"] for one in study.verdicts] == ["Here."]


def test_what_is_no_study_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no study\.json"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(InputError, match="no JSON"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text("{}")
    (tmp_path / "predictions.csv").write_text("task,id\na,b\n")
    with pytest.raises(InputError, match="lacks contender, truth, value"):
        read_study(tmp_path)
