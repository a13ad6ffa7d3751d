import json

import pytest
import torch
from torch import nn

from epitaxy.crystals.crystals import cat
from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError, RecipeError
from epitaxy.objectives import Property
from epitaxy.registry import build
from epitaxy.testing import examples
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import graph_builder


def prepared_for(crystals, tiny, **arguments):
    torch.manual_seed(0)
    backbone = build("backbones", tiny).eval()
    objective = Property(**arguments)
    builder = graph_builder(backbone, [objective])
    return backbone, builder, objective.prepare(crystals, builder, torch.Generator())


def test_pooling_follows_the_declaration(crystals, tiny):
    intensive = prepared_for(crystals, tiny, target="formation_energy_per_atom")[2]
    extensive = prepared_for(crystals, tiny, target="energy")[2]
    assert intensive.declaration["pooling"] == "mean"
    assert extensive.declaration["pooling"] == "sum"


POOLINGS = (None, "mean", "attention", "set2set", "cumulants", "set2set_joined")


@pytest.mark.parametrize("name", ["torchmd_et", "megnet"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_an_extensive_prediction_doubles_with_the_cell_and_an_intensive_one_stays(
    crystals, tiny, pooling, name
):
    settings = tiny if name == "torchmd_et" else {"name": name, "preset": "small"}
    one = crystals[3].with_targets({})
    two = examples.supercell(one)[0]
    for target, factor in (("energy", 2.0), ("formation_energy_per_atom", 1.0)):
        backbone, builder, objective = prepared_for(
            crystals, settings, target=target, pooling=pooling
        )
        head = objective.head(backbone)
        small = objective.predict(Encoder(backbone), head, builder(one))
        large = objective.predict(Encoder(backbone), head, builder(two))
        torch.testing.assert_close(large, factor * small, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooling", [None, "mean"])
def test_pooled_means_keep_the_size_laws(crystals, tiny, pooling):
    one = crystals[3].with_targets({})
    two = examples.supercell(one)[0]
    for target, factor in (("energy", 2.0), ("formation_energy_per_atom", 1.0)):
        backbone, builder, objective = prepared_for(
            crystals, tiny, target=target, pooling=pooling, readout="pooled"
        )
        head = objective.head(backbone)
        small = objective.predict(Encoder(backbone), head, builder(one))
        large = objective.predict(Encoder(backbone), head, builder(two))
        torch.testing.assert_close(large, factor * small, rtol=1e-4, atol=1e-4)


def test_a_pooled_sum_is_learned_from_raw_totals_as_published(crystals, tiny):
    """y = MLP(Σ h), and L is the mean of |y − t|: no division by the number of atoms anywhere."""
    some = crystals[:8]
    backbone, builder, objective = prepared_for(
        some,
        tiny,
        target="energy",
        pooling="sum",
        readout="pooled",
        standardize=False,
        loss_kind="l1",
    )
    head = objective.head(backbone)
    view = objective.view(some, builder, torch.Generator())
    nodes = backbone(view.graphs[0]).nodes
    sums = torch.zeros(8, nodes.shape[1]).index_add(0, some.crystal_of_atom, nodes)
    by_hand = head.perceptron(sums).squeeze(-1)
    predicted = objective.predict(Encoder(backbone), head, view.graphs[0])
    torch.testing.assert_close(predicted, by_hand.double())
    totals = some.target("energy").values
    loss = objective.loss(Encoder(backbone), head, view)["loss"]
    torch.testing.assert_close(loss, (by_hand - totals).abs().mean(), check_dtype=False)
    scaled = prepared_for(some, tiny, target="energy", pooling="sum", readout="pooled")[2]
    assert scaled.declaration["mean"] == pytest.approx(float(totals.double().mean()))


@pytest.mark.parametrize("pooling", POOLINGS[1:])
@pytest.mark.parametrize("target", ["energy", "formation_energy_per_atom"])
def test_predictions_and_losses_of_every_pooling_belong_together(crystals, tiny, pooling, target):
    some = crystals[:8]
    backbone, builder, objective = prepared_for(some, tiny, target=target, pooling=pooling)
    head = objective.head(backbone)
    view = objective.view(some, builder, torch.Generator())
    predicted = objective.predict(Encoder(backbone), head, view.graphs[0])
    error = (predicted - some.target(target).values).abs().mean()
    figures = objective.loss(Encoder(backbone), head, view)
    torch.testing.assert_close(figures["mae"], error, rtol=1e-4, atol=1e-5, check_dtype=False)
    figures["loss"].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in head.parameters())


def test_the_joined_readout_takes_a_state_where_there_is_one(crystals, tiny):
    arguments = {"target": "energy", "pooling": "set2set_joined"}
    backbone, _, objective = prepared_for(crystals, tiny, **arguments)
    assert objective.head(backbone).state_width == 0
    megnet, builder, objective = prepared_for(
        crystals, {"name": "megnet", "preset": "small"}, **arguments
    )
    state = megnet(builder(crystals[:2])).crystals
    assert objective.head(megnet).state_width == state.shape[1]


def test_mean_and_scale_are_those_of_the_training_targets(crystals, tiny):
    values = crystals.target("energy").values / crystals.atom_counts
    declaration = prepared_for(crystals, tiny, target="energy")[2].declaration
    assert declaration["mean"] == pytest.approx(float(values.mean()), rel=1e-5)
    assert declaration["std"] == pytest.approx(float(values.std(unbiased=False)), rel=1e-4)


def test_missing_targets_carry_no_loss_and_no_gradient(crystals, tiny):
    target = crystals.target("formation_energy_per_atom")
    values = target.values.clone()
    values[::2] = torch.nan
    holed = crystals.with_targets({"y": target.with_values(values)})
    backbone, builder, objective = prepared_for(holed, tiny, target="y")
    head = objective.head(backbone)
    everything = objective.loss(
        Encoder(backbone), head, objective.view(holed, builder, torch.Generator())
    )
    only_known = objective.loss(
        Encoder(backbone), head, objective.view(holed[1::2], builder, torch.Generator())
    )
    torch.testing.assert_close(everything["loss"], only_known["loss"])
    torch.testing.assert_close(everything["mae"], only_known["mae"])
    everything["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_properties_of_atoms_are_predicted_atom_by_atom(crystals, tiny):
    backbone, builder, objective = prepared_for(crystals, tiny, target="magmoms")
    values = objective.predict(Encoder(backbone), objective.head(backbone), builder(crystals))
    assert values.shape == (crystals.atom_total,)


def test_a_property_without_a_target_is_refused():
    with pytest.raises(RecipeError, match="needs a target"):
        Property()


def test_a_missing_target_lists_those_there_are(crystals, tiny):
    with pytest.raises(InputError, match=r"no target 'band_gap'.*bulk_modulus"):
        prepared_for(crystals, tiny, target="band_gap")


def test_another_unit_than_in_training_is_refused(crystals, tiny):
    _, builder, objective = prepared_for(crystals, tiny, target="bulk_modulus")
    megapascal = crystals.target("bulk_modulus").values * 1000
    other = crystals.with_targets({"bulk_modulus": Target(megapascal, unit="MPa")})
    with pytest.raises(InputError, match="'MPa'"):
        objective.view(other, builder, torch.Generator())


def test_all_missing_is_refused(crystals, tiny):
    empty = Target(torch.full((len(crystals),), torch.nan))
    with pytest.raises(InputError, match="missing in all"):
        prepared_for(crystals.with_targets({"y": empty}), tiny, target="y")


def test_the_loss_of_a_batch_is_the_mean_over_its_crystals(crystals, tiny):
    backbone, builder, objective = prepared_for(crystals, tiny, target="energy")
    head = objective.head(backbone)

    def loss(some):
        view = objective.view(some, builder, torch.Generator())
        return objective.loss(Encoder(backbone), head, view)["loss"]

    parts = [crystals[index] for index in range(4)]
    torch.testing.assert_close(loss(cat(parts)), torch.stack([loss(p) for p in parts]).mean())


class Answers(nn.Module):
    """Stands for a head that has learned these outputs."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, encoding, graph):
        return self.outputs


def with_holes(crystals):
    """Crystals with an extensive and an intensive target that are missing in different ones."""
    energy, modulus = crystals.target("energy"), crystals.target("bulk_modulus")
    holed_energy, holed_modulus = energy.values.clone(), modulus.values.clone()
    holed_energy[::3], holed_modulus[1::2] = torch.nan, torch.nan
    return crystals.with_targets(
        {
            "energy": energy.with_values(holed_energy),
            "bulk_modulus": modulus.with_values(holed_modulus),
        }
    )


TWO = ("energy", "bulk_modulus")


@pytest.mark.parametrize("pooling", [None, "sum", "attention"])
def test_the_right_outputs_of_several_targets_have_no_loss(crystals, tiny, pooling):
    holed = with_holes(crystals[:12])
    backbone, builder, objective = prepared_for(holed, tiny, target=TWO, pooling=pooling)
    columns = []
    for name in TWO:
        declared, counts = objective.declarations[name], holed.atom_counts.double()
        grows = name == "energy" or pooling == "sum"
        sizes = counts if grows else torch.ones_like(counts)
        values = holed.target(name).values.double()
        columns.append((values - declared["mean"] * sizes) / declared["std"])
    head = Answers(torch.stack(columns, dim=-1).nan_to_num(nan=1e3).float())
    view = objective.view(holed, builder, torch.Generator())
    figures = objective.loss(Encoder(backbone), head, view)
    assert set(figures) == {"loss", "energy_mae", "bulk_modulus_mae"}
    assert float(figures["loss"]) < 1e-4
    predicted = objective.predict_all(Encoder(backbone), head, view.graphs[0])
    for name in TWO:
        known = holed.target(name).present()
        torch.testing.assert_close(
            predicted[name][known], holed.target(name).values[known].double(), rtol=1e-4, atol=1e-3
        )
    off = Answers(head.outputs + torch.tensor([0.0, 0.5]))
    expected = 0.5 * (0.5 / sizes)[known].mean()
    found = objective.loss(Encoder(backbone), off, view)["loss"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_each_of_several_targets_keeps_its_own_size_law(crystals, tiny, pooling):
    one = crystals[3].with_targets({})
    two = examples.supercell(one)[0]
    backbone, builder, objective = prepared_for(crystals, tiny, target=TWO, pooling=pooling)
    head = objective.head(backbone)
    small, large = (objective.predict_all(Encoder(backbone), head, builder(c)) for c in (one, two))
    for name, factor in (("energy", 2.0), ("bulk_modulus", 1.0)):
        torch.testing.assert_close(large[name], factor * small[name], rtol=1e-4, atol=1e-3)


def test_the_loss_of_several_targets_is_the_mean_of_their_own(crystals, tiny):
    """Each with its own missing values, as if there were no other."""
    holed = with_holes(crystals[:12])
    backbone, builder, both = prepared_for(holed, tiny, target=TWO, pooling="mean")
    head = both.head(backbone)
    together = both.loss(Encoder(backbone), head, both.view(holed, builder, torch.Generator()))
    losses = []
    for column, name in enumerate(TWO):
        known = holed[holed.target(name).present()]
        _, _, alone = prepared_for(holed, tiny, target=name, pooling="mean")
        outputs = head(Encoder(backbone)(builder(known)), builder(known))
        view = alone.view(known, builder, torch.Generator())
        figures = alone.loss(Encoder(backbone), Answers(outputs[:, column : column + 1]), view)
        losses.append(figures["loss"])
        torch.testing.assert_close(together[f"{name}_mae"], figures["mae"])
        assert alone.fitted == both.declarations[name]
    torch.testing.assert_close(together["loss"], torch.stack(losses).mean())


def test_a_batch_without_one_of_the_targets_learns_the_other(crystals, tiny):
    holed = with_holes(crystals[:12])
    backbone, builder, objective = prepared_for(holed, tiny, target=TWO)
    head = objective.head(backbone)
    view = objective.view(holed[1:2], builder, torch.Generator())
    figures = objective.loss(Encoder(backbone), head, view)
    assert bool(torch.isnan(figures["bulk_modulus_mae"]))
    figures["loss"].backward()
    slope = head.perceptron[-1].weight.grad
    assert float(slope[0].abs().sum()) > 0.0
    assert float(slope[1].abs().sum()) == 0.0


def test_fitted_numbers_survive_json_in_any_order(crystals, tiny):
    backbone, builder, objective = prepared_for(crystals, tiny, target=TWO)
    head = objective.head(backbone)
    read = json.loads(json.dumps(objective.fitted, sort_keys=True))
    again = Property(target=TWO).with_fitted(read)
    assert again.head(backbone).extensive == head.extensive == (True, False)
    one, two = (
        o.predict_all(Encoder(backbone), head, builder(crystals)) for o in (objective, again)
    )
    assert all(torch.equal(one[name], two[name]) for name in TWO)


def test_one_name_in_a_list_is_one_name(crystals, tiny):
    listed = prepared_for(crystals, tiny, target=("energy",))[2]
    assert listed.constants() == Property(target="energy").constants()
    assert listed.fitted == prepared_for(crystals, tiny, target="energy")[2].fitted


def test_targets_of_crystals_and_of_atoms_do_not_mix(crystals, tiny):
    with pytest.raises(InputError, match=r"one level: 'energy' of crystals, 'magmoms' of atoms"):
        prepared_for(crystals, tiny, target=("energy", "magmoms"))
    with pytest.raises(RecipeError, match="twice"):
        Property(target=("energy", "energy"))


def test_absolute_moments_do_not_know_their_signs(crystals, tiny):
    signs = torch.where(torch.arange(crystals.atom_total) % 2 == 0, 1.0, -1.0)
    moments = crystals.target("magmoms")
    flipped = crystals.with_targets({"magmoms": moments.with_values(moments.values * signs)})
    labels = []
    for some in (crystals, flipped):
        _, builder, objective = prepared_for(some, tiny, target="magmoms", absolute=True)
        labels.append(objective.view(some, builder, torch.Generator()).labels["magmoms"].values)
    assert torch.equal(*labels)
    plain = prepared_for(flipped, tiny, target="magmoms")[2].declaration
    assert plain["mean"] != objective.declaration["mean"]
