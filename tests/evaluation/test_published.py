import pytest

from epitaxy.errors import InputError
from epitaxy.evaluation.published import (
    published_aggregates,
    published_figures,
    published_tasks,
    recognized_task,
    task_named,
)


@pytest.mark.parametrize("task", published_tasks())
def test_every_figure_says_where_it_comes_from_and_what_differs(task):
    figures = published_figures(task)
    assert len(figures) >= 15
    assert (figures["mae"] > 0.0).all()
    for column in ("who", "unit", "training", "protocol", "differs", "source"):
        assert figures[column].str.len().min() > 0
    assert not figures.duplicated(["who", "source"]).any()
    assert figures["mae"].is_monotonic_increasing


def test_rows_have_the_columns_of_their_tasks():
    scratch = {
        task: published_figures(task).set_index("who").loc["TorchMD-ET from scratch", "mae"]
        for task in ("matbench_jdft2d", "matbench_mp_gap", "mamun_adsorption")
    }
    assert scratch == {
        "matbench_jdft2d": 57.6,
        "matbench_mp_gap": 0.233,
        "mamun_adsorption": 0.0778,
    }


def test_energies_are_converted_and_what_cannot_be_keeps_its_unit():
    ours = published_figures("matbench_jdft2d", "eV/atom")
    assert ours.set_index("who").loc["coGN", "mae"] == pytest.approx(0.03717)
    assert set(ours["unit"]) == {"eV/atom"}
    assert set(published_figures("matbench_mp_gap", "eV/atom")["unit"]) == {"eV"}
    assert set(published_figures("matbench_log_gvrh", "GPa")["unit"]) == {"log10(GPa)"}


@pytest.mark.parametrize(
    ("data", "target", "task"),
    [
        ("/home/me/matbench_phonons.json.gz", "last phdos peak", "matbench_phonons"),
        ("Matbench-MP-gap/", "band_gap", "matbench_mp_gap"),
        ("matbench_mp_gap", "formation_energy_per_atom", None),
        ("bundled", "bulk_modulus", None),
        ("given in Python", "band_gap", None),
    ],
)
def test_a_task_is_known_by_the_names_of_data_and_target(data, target, task):
    assert recognized_task(data, target) == task


def test_an_unknown_task_is_explained():
    with pytest.raises(InputError, match="Did you mean 'matbench_phonons'"):
        task_named("matbench_phonon")


def test_claims_over_many_tasks_are_there():
    claims = published_aggregates().set_index("who")
    assert claims.loc["MEGNet, denoising of edges", ["configurations", "of"]].tolist() == [37, 49]
