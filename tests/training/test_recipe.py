import math

import pytest
import torch

from epitaxy.errors import RecipeError
from epitaxy.training.recipe import load_recipe, parse_recipe, recipe_names
from epitaxy.training.train import starting_backbone, train


def test_an_unknown_key_suggests_the_nearest():
    with pytest.raises(RecipeError, match=r"training\.epoch.*Did you mean 'epochs'"):
        parse_recipe({"training": {"epoch": 3}}, "mine.toml")


def test_a_wrong_type_names_key_and_value():
    with pytest.raises(RecipeError, match=r"mine\.toml: training\.epochs = 'many' does not fit"):
        parse_recipe({"training": {"epochs": "many"}}, "mine.toml")


def test_a_value_out_of_range_is_refused():
    with pytest.raises(RecipeError, match=r"training\.learning_rate = -1"):
        parse_recipe({"training": {"learning_rate": -1}}, "mine.toml")


def test_a_value_that_fits_no_alternative_is_told_once_with_all_of_them():
    with pytest.raises(RecipeError) as raised:
        load_recipe("quickstart").altered({"training.devices": 0})
    assert str(raised.value) == (
        "the changes given: training.devices = 0 does not fit: input should be greater than 0, or "
        "input should be 'auto'."
    )


def test_a_missing_recipe_lists_ours():
    with pytest.raises(RecipeError, match="Did you mean 'quickstart'"):
        load_recipe("quikstart")


def test_broken_toml_names_the_file(tmp_path):
    file = tmp_path / "broken.toml"
    file.write_text("epochs = [")
    with pytest.raises(RecipeError, match=r"broken\.toml is not valid TOML"):
        load_recipe(file)


def test_changes_replace_nested_keys_and_refuse_unknown_ones():
    recipe = load_recipe("quickstart")
    changed = recipe.altered({"training.epochs": 2, "objectives.0.loss_kind": "l2"})
    assert changed.training.epochs == 2
    assert changed.objectives[0]["loss_kind"] == "l2"
    assert recipe.training.epochs != 2
    with pytest.raises(RecipeError, match="Did you mean 'training'"):
        recipe.altered({"trainin.epochs": 2})


def test_a_components_unknown_argument_is_named_when_the_run_is_built(crystals):
    recipe = load_recipe("quickstart").altered({"backbone.widht": 8})
    with pytest.raises(RecipeError, match="Did you mean 'width'"):
        train(recipe, crystals)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_trains_two_steps(name, crystals):
    """All of the recipe is as it stands, preset included, but for its length and batches."""
    few = crystals[(crystals.atom_counts > 2) & (crystals.atom_counts < 5)][:6]
    recipe = load_recipe(name)
    objectives = [
        {**one, "target": "bulk_modulus"} if one["name"] == "property" else one
        for one in recipe.objectives
    ]
    recipe = recipe.altered(
        {"objectives": objectives, "training.epochs": 2, "training.batch_size": 4}
    )
    trained = train(recipe, few[:4], few[4:])
    assert [row["split"] for row in trained.fitted.rows] == ["train", "validation"] * 2
    assert all(math.isfinite(row["loss"]) for row in trained.fitted.rows)
    start = starting_backbone(recipe, None).state_dict()
    assert any(not torch.equal(start[k], v) for k, v in trained.model.backbone.state_dict().items())


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_called_by_its_place(name):
    """Recipes of different papers must not end in one folder by default."""
    assert load_recipe(name).name == name.replace("/", "-")


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("paper_")])
def test_recipes_of_papers_take_the_published_backbones(name):
    assert load_recipe(name).backbone["preset"] in ("paper", "paper_d")


def test_a_recipe_in_a_folder_is_suggested_too():
    with pytest.raises(RecipeError, match="Did you mean 'paper_a/wacsf_set1'"):
        load_recipe("paper_a/wacsf_set_1")
