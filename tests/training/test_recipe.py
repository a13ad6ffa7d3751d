import pytest

from epitaxy.errors import RecipeError
from epitaxy.training.recipe import load_recipe, parse_recipe, recipe_names
from epitaxy.training.train import train


def test_an_unknown_key_suggests_the_nearest():
    with pytest.raises(RecipeError, match=r"training\.epoch.*Did you mean 'epochs'"):
        parse_recipe({"training": {"epoch": 3}}, "mine.toml")


def test_a_wrong_type_names_key_and_value():
    with pytest.raises(RecipeError, match=r"mine\.toml: training\.epochs = 'many' does not fit"):
        parse_recipe({"training": {"epochs": "many"}}, "mine.toml")


def test_a_value_out_of_range_is_refused():
    with pytest.raises(RecipeError, match=r"training\.learning_rate = -1"):
        parse_recipe({"training": {"learning_rate": -1}}, "mine.toml")


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
    recipe = load_recipe(name)
    objectives = [
        {**one, "target": "bulk_modulus"} if one["name"] == "property" else one
        for one in recipe.objectives
    ]
    recipe = recipe.altered(
        {"objectives": objectives, "training.epochs": 2, "training.batch_size": 16}
    )
    trained = train(recipe, crystals[:16], crystals[16:24])
    assert [row["split"] for row in trained.fitted.rows] == ["train", "validation"] * 2
    assert all(row["loss"] > 0 for row in trained.fitted.rows)
