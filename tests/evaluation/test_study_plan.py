"""Studies read, spelled out and checked, without a run."""

from itertools import pairwise

import pytest
import torch

from epitaxy.crystals.targets import Target
from epitaxy.datasets.bundled import bundled
from epitaxy.errors import InputError, RecipeError
from epitaxy.evaluation.study.grids import Problems
from epitaxy.evaluation.study.ledger import Ledger
from epitaxy.evaluation.study.mapping import chosen_rows, failed_maps, map_works
from epitaxy.evaluation.study.origins import origins
from epitaxy.evaluation.study.plan import make_plan
from epitaxy.evaluation.study.rehearsal import _few
from epitaxy.evaluation.study.rows import rows
from epitaxy.evaluation.study.specification import load_study, parse_study, study_names
from epitaxy.evaluation.study.splits import Sides, nested_splits
from epitaxy.evaluation.study.works import digest, note_failure, what_counts
from epitaxy.training.recipe import load_recipe

TASK = {"source": "bundled", "target": "bulk_modulus", "limit": 100, "max_atoms": 6}
DENOISE = {"name": "denoise"}
CGCNN = {"name": "cgcnn", "preset": "small"}


def spelled_out(values, tmp_path):
    """Return pre-trainings, rows and problems of a study."""
    problems = Problems()
    study = parse_study({"name": "one", "tasks": [TASK], **values}, "one.toml")
    found = origins(study, tmp_path, problems)
    return found, rows(study, tmp_path, found, problems), problems


def test_unknown_keys_are_named_with_the_nearest_right_one():
    with pytest.raises(RecipeError) as caught:
        parse_study({"name": "x", "sedes": 3, "tasks": [{"sorce": "a", "target": "b"}]}, "x.toml")
    told = str(caught.value)
    assert "unknown key 'sedes'. Did you mean 'seeds'?" in told
    assert "unknown key 'tasks.0.sorce'. Did you mean 'source'?" in told
    assert "the key 'tasks.0.source' is missing" in told


@pytest.mark.parametrize("name", study_names())
def test_our_studies_can_be_read(name):
    study, _ = load_study(name)
    assert study.name == name


def test_everything_that_does_not_fit_is_told_at_once(tmp_path):
    study = {
        "name": "bad",
        "sizes": [10, 5000],
        "baselines": ["composition-florest"],
        "tuning": {"training": {"learning_rat": [1e-3]}},
        "tasks": [TASK, {**TASK, "name": "other", "target": "bulk_modulos"}],
        "pretrainings": [
            {"name": "fp", "grid": {"objectives.0.descriptor.preset": ["set1", "set9"]}},
            {"name": "there", "run": str(tmp_path / "nowhere")},
        ],
        "contenders": [{"pretraining": "pf"}, {"changes": {"training": {"epoch": 3}}}],
    }
    with pytest.raises(InputError) as caught:
        make_plan(study)
    told = str(caught.value)
    for part in (
        "no baseline 'composition-florest'. Did you mean 'composition-forest'?",
        "tuning training.learning_rat = 0.001: ",
        "Did you mean 'learning_rate'?",
        "pretraining 'fp [set9]': WACSF has no preset 'set9'",
        "no checkpoint in",
        "no pre-training 'pf'. Known: fp, there.",
        "unknown key 'training.epoch'. Did you mean 'epochs'?",
        "5000 crystals to train on",
        "Did you mean 'bulk_modulus'?",
    ):
        assert part in told, part


def test_every_cell_of_a_grid_is_compared_with_scratch_of_its_kind(tmp_path):
    _, made, problems = spelled_out(
        {
            "grid": {"finetuning.objectives.0.pooling": ["mean", "sum"]},
            "pretrainings": [
                {"name": "fp", "grid": {"epoch": [1, 5]}, "changes": {"training": {"epochs": 5}}},
                {
                    "name": "blurred",
                    "changes": {"backbone": CGCNN, "objectives": [{"name": "denoise"}]},
                },
            ],
        },
        tmp_path,
    )
    assert not problems
    against = {row.name: row.reference for row in made}
    assert against["fp [epoch=1, sum]"] == "scratch [torchmd_et, sum]"
    assert against["fp [epoch=5, mean]"] == "scratch [torchmd_et, mean]"
    assert against["blurred [sum]"] == "scratch [cgcnn, sum]"
    assert against["scratch [cgcnn, sum]"] is None


def test_kept_checkpoints_of_one_pretraining_are_one_run(tmp_path):
    found, _, _ = spelled_out(
        {
            "pretrainings": [
                {"name": "fp", "grid": {"epoch": [1, 5]}, "changes": {"training": {"epochs": 5}}}
            ]
        },
        tmp_path,
    )
    first, second = found
    assert first.recipe == second.recipe
    assert first.recipe.training.keep_epochs == (1, 5)
    assert (first.epoch, second.epoch) == (1, 5)


def test_recipes_of_papers_are_labeled_as_long_as_nothing_is_changed(tmp_path):
    def labels(**more):
        values = {
            "finetuning": "paper_a/finetune",
            "tuning": {"training.learning_rate": [1e-3, 1e-4]},
            "baselines": [],
            "pretrainings": [{"name": "wacsf", "recipe": "paper_a/wacsf_set1", **more}],
        }
        return {row.name: (row.label, row.tuned) for row in spelled_out(values, tmp_path)[1]}

    assert labels() == {"scratch": ("paper", False), "wacsf": ("paper", False)}
    changed = labels(changes={"training": {"epochs": 3}})
    assert changed["wacsf"] == ("ours", True)


def test_a_frozen_or_slow_encoder_is_compared_with_the_same_scratch(tmp_path):
    _, made, problems = spelled_out(
        {
            "pretrainings": [{"name": "fp"}],
            "contenders": [
                {},
                {"pretraining": "fp"},
                {"pretraining": "fp", "name": "slow", "changes": {"training.encoder_rate": 0.1}},
            ],
        },
        tmp_path,
    )
    assert not problems
    assert {row.name: row.reference for row in made} == {
        "scratch": None,
        "fp": "scratch",
        "slow": "scratch",
        "dummy": "scratch",
    }


def test_weights_that_read_the_tasks_labels_are_refused():
    study = {
        "name": "leak",
        "sizes": [10],
        "tasks": [TASK],
        "pretrainings": [
            {
                "name": "labels",
                "changes": {"objectives": [{"name": "property", "target": "bulk_modulus"}]},
            }
        ],
    }
    with pytest.raises(InputError, match="'labels' were trained on labels of 'bulk_modulus'"):
        make_plan(study)


def test_smaller_subsets_are_part_of_larger_ones_and_no_part_meets_another():
    sides = {None: Sides(range(20), pool := range(20, 120), pool)}
    splits = nested_splits(sides, 3, [15, 40, "all"], None, 0.2)
    assert list(splits.sizes) == [15, 40, 83]
    for seed in range(3):
        parts = [splits.parts[size, seed, None] for size in splits.sizes]
        for smaller, larger in pairwise(parts):
            assert set(smaller.train) < set(larger.train)
            assert set(smaller.validation) <= set(larger.validation)
        for part in parts:
            together = [*part.train, *part.validation, *part.test]
            assert len(set(together)) == len(together)
    assert splits.parts[15, 0, None].train != splits.parts[15, 1, None].train


@pytest.mark.parametrize("count", [81, 87, 99, 111, 123, 135, 500])
def test_all_the_crystals_are_as_many_as_leave_their_validation_part(count):
    sides = {None: Sides(range(20), pool := range(20, 20 + count), pool)}
    (part,) = nested_splits(sides, 1, ["all"], None, 0.2).parts.values()
    assert count - 1 <= len(part.train) + len(part.validation) <= count


def test_sizes_are_lowered_only_where_a_share_is_given():
    sides = {None: Sides(range(20), pool := range(20, 120), pool)}
    assert nested_splits(sides, 1, [20, 500], 0.5, 10).sizes == {20: 20, 60: 500}
    with pytest.raises(InputError, match="500 crystals to train on"):
        nested_splits(sides, 1, [20, 500], None, 10)


def test_a_runs_identity_is_what_its_result_depends_on():
    recipe = load_recipe("finetune")
    same = recipe.altered({"name": "other", "data.source": "x", "training.resume_minutes": 9.0})
    other = recipe.altered({"training.learning_rate": 2e-3})
    assert digest(what_counts(recipe)) == digest(what_counts(same))
    assert digest(what_counts(recipe)) != digest(what_counts(other))


def test_a_rehearsal_takes_crystals_that_have_labels_and_of_several_classes():
    crystals = bundled()[:200]
    values = torch.full((200,), torch.nan)
    values[[11, 50, 90, 130, 170, 199]] = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    rare = Target(values, "crystal", "1")
    found = _few(crystals.with_targets({"metal": rare}))
    kept = found.target("metal").values
    assert not kept.isnan().any()
    moments = torch.full((crystals.atom_total,), torch.nan)
    moments[crystals.offsets[60] : crystals.offsets[70]] = 1.0
    sparse = crystals.with_targets({"moments": Target(moments, "atom", "μB")})
    assert set(_few(sparse).ids) <= set(crystals.ids[60:70])
    classes = torch.tensor([0.0] * 190 + [1.0] * 10)
    whole = crystals.with_targets({"metal": Target(classes, "crystal", "1")})
    assert set(_few(whole).target("metal").values.tolist()) == {0.0, 1.0}


def test_our_study_of_fingerprints_trains_fingerprints_alone(tmp_path):
    study, home = load_study("fingerprints")
    for one in origins(study, home, Problems()):
        assert [objective["name"] for objective in one.recipe.objectives] == ["fingerprint"]


def test_maps_draw_at_most_a_thousand_crystals_the_same_each_time():
    rows = chosen_rows(2378)
    assert len(set(rows)) == 1000
    assert rows == sorted(rows) == chosen_rows(2378)
    assert max(rows) < 2378
    assert chosen_rows(7) == [*range(7)]


def test_a_study_may_go_without_maps_and_an_unused_pretraining_has_none(tmp_path):
    values = {
        "name": "one",
        "tasks": [TASK],
        "pretrainings": [
            {"name": name, "changes": {"objectives": [DENOISE], "data.limit": 20}}
            for name in ("used", "unused")
        ],
        "contenders": [{}, {"pretraining": "used"}],
    }
    works = map_works(Ledger(make_plan(values), tmp_path))
    assert [work.label for work in works] == ["untrained", "used"]
    assert map_works(Ledger(make_plan({**values, "maps": False}), tmp_path)) == []
    (tmp_path / "maps").mkdir()
    note_failure(works[1], "no memory")
    assert failed_maps(Ledger(make_plan(values), tmp_path)) == [
        "map of bulk_modulus, used: no memory"
    ]
