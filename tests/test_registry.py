"""Components are found by name and built from checked arguments; errors show the way out."""

import pytest

from epitaxy import registry
from epitaxy.backbones.torchmd_et import TorchMDET
from epitaxy.errors import RecipeError

SMALL = {"name": "torchmd_et", "preset": "small", "elements": 20}


def test_a_component_is_found_by_the_name_of_its_file():
    assert registry.find("backbones", "torchmd_et") is TorchMDET
    assert "torchmd_et" in registry.names("backbones")
    assert "base" not in registry.names("backbones")


def test_a_preset_is_built_with_some_arguments_replaced():
    backbone = registry.build("backbones", {**SMALL, "layers": 1})
    assert (backbone.width, backbone.layers, backbone.elements) == (64, 1, 20)


def test_an_integer_is_taken_for_a_number_and_kept_as_one():
    backbone = registry.build("backbones", {**SMALL, "layers": 1, "cutoff": 4})
    assert isinstance(backbone.cutoff, float)


def test_the_settings_of_a_component_build_it_again():
    backbone = TorchMDET.preset("small", layers=1, elements=20)
    settings = registry.settings_of(backbone)
    assert settings["name"] == "torchmd_et"
    assert registry.build("backbones", settings).constants() == backbone.constants()


def test_a_component_of_elsewhere_is_named_with_its_module():
    class Elsewhere(TorchMDET):
        pass

    named = registry.name_of(Elsewhere(width=8, heads=2, layers=1, elements=5))
    assert named.endswith("Elsewhere")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"name": "torchmd-et"}, r"no 'torchmd-et' among the backbones. Did you mean 'torchmd_et'"),
        ({"preset": "small"}, "has no name"),
        ({**SMALL, "preset": "smal"}, "has no preset 'smal'. Did you mean 'small'"),
        ({**SMALL, "widht": 32}, r"no argument 'widht' \(given: 32\). Did you mean 'width'"),
        ({**SMALL, "width": "wide"}, r"width = 'wide' does not fit: .*integer"),
        ({**SMALL, "width": 0}, r"width = 0 does not fit: .*greater than 0"),
        ({**SMALL, "ties": "loose"}, r"ties = 'loose' does not fit: .*'strict' or 'shells'"),
        ({**SMALL, "cutoff": -1.0}, r"cutoff = -1.0 does not fit: .*greater than 0"),
    ],
)
def test_an_error_names_the_key_the_value_and_the_nearest_right_one(settings, complaint):
    with pytest.raises(RecipeError, match=complaint):
        registry.build("backbones", settings)


def test_all_problems_are_told_at_once():
    with pytest.raises(RecipeError) as told:
        registry.build("backbones", {**SMALL, "width": 0, "heads": -1})
    assert "width = 0" in str(told.value)
    assert "heads = -1" in str(told.value)


def test_known_names_are_listed_where_none_is_near():
    with pytest.raises(RecipeError, match=r"Known: .*torchmd_et"):
        registry.find("backbones", "xyz")
