"""The objective ``property`` as a classifier."""

import pytest
import torch
from torch import nn

from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError, RecipeError
from epitaxy.objectives import Property
from epitaxy.registry import build
from epitaxy.testing import examples
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import graph_builder


def classifier(crystals, tiny, target="kind", **arguments):
    torch.manual_seed(0)
    backbone = build("backbones", tiny).eval()
    objective = Property(target=target, task="classification", **arguments)
    builder = graph_builder(backbone, [objective])
    return backbone, builder, objective.prepare(crystals, builder, torch.Generator())


class Answers(nn.Module):
    """Stands for a head that has learned these outputs."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, encoding, graph):
        return self.outputs


def with_classes(crystals, count=3):
    """Crystals with the class of their size, missing in some."""
    values = torch.bucketize(crystals.atom_counts, torch.tensor([3, 6])[: count - 1]).double()
    values[::5] = torch.nan
    return crystals.with_targets({"kind": Target(values)})


@pytest.mark.parametrize("pooling", [None, "attention", "set2set", "cumulants", "set2set_joined"])
def test_probabilities_sum_to_one_and_do_not_depend_on_the_cell(crystals, tiny, pooling):
    backbone, builder, objective = classifier(with_classes(crystals), tiny, pooling=pooling)
    head = objective.head(backbone)
    one = crystals[3].with_targets({})
    two = examples.supercell(one)[0]
    found = [
        objective.probabilities(Encoder(backbone), head, builder(c))["kind"] for c in (one, two)
    ]
    assert found[0].shape == (1, 3)
    torch.testing.assert_close(found[0].sum(-1), torch.ones(1, dtype=torch.float64))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)
    named = objective.predict(Encoder(backbone), head, builder(one))
    assert int(named) == int(found[0].argmax())


def test_sure_and_right_is_no_loss_and_sure_and_wrong_a_large_one(crystals, tiny):
    labelled = with_classes(crystals)
    backbone, builder, objective = classifier(labelled, tiny)
    view = objective.view(labelled, builder, torch.Generator())
    values = labelled.target("kind").values
    known = torch.isfinite(values)
    right = nn.functional.one_hot(values.nan_to_num(nan=1.0).long(), 3).float() * 40.0
    figures = objective.loss(Encoder(backbone), Answers(right), view)
    assert float(figures["loss"]) < 1e-6
    assert (float(figures["accuracy"]), float(figures["balanced_accuracy"])) == (1.0, 1.0)
    right[~known] = 40.0 * torch.eye(3)[2]  # what is said of the unlabelled is of no account
    assert float(objective.loss(Encoder(backbone), Answers(right), view)["loss"]) < 1e-6
    wrong = objective.loss(Encoder(backbone), Answers(right.roll(1, dims=-1)), view)
    assert float(wrong["loss"]) == pytest.approx(40.0)
    assert float(wrong["accuracy"]) == 0.0


def test_other_numbers_for_the_classes_are_the_same_task(crystals, tiny):
    labelled = with_classes(crystals)
    order = torch.tensor([2, 0, 1])
    values = labelled.target("kind").values
    renamed = torch.where(torch.isnan(values), values, order[values.nan_to_num().long()].double())
    losses = []
    for some, columns in ((values, torch.arange(3)), (renamed, torch.argsort(order))):
        given = labelled.with_targets({"kind": Target(some)})
        backbone, builder, objective = classifier(given, tiny)
        torch.manual_seed(1)
        head = objective.head(backbone)
        outputs = head(Encoder(backbone)(builder(given)), builder(given))[:, columns]
        view = objective.view(given, builder, torch.Generator())
        losses.append(objective.loss(Encoder(backbone), Answers(outputs), view))
    for name in losses[0]:
        torch.testing.assert_close(losses[0][name], losses[1][name])


def test_a_classifier_learns_what_the_elements_tell_although_one_class_is_rare(
    crystals, tiny, prepared, trained
):
    oxygen = torch.zeros(len(crystals))
    oxygen.index_add_(0, crystals.crystal_of_atom, (crystals.numbers == 8).float())
    kinds = (oxygen > 0).double()
    assert 0.0 < kinds.mean() < 0.5
    labelled = crystals.with_targets({"oxide": Target(kinds)})
    objective = Property(target="oxide", task="classification")
    before, after = trained(*prepared(tiny, objective, labelled), labelled, steps=20)
    assert after["loss"] < 0.5 * before["loss"]
    assert after["balanced_accuracy"] > 0.9


def test_several_targets_have_classes_of_their_own(crystals, tiny):
    labelled = with_classes(crystals)
    other = with_classes(crystals, count=2).target("kind")
    labelled = labelled.with_targets({"kind": labelled.target("kind"), "large": other})
    backbone, builder, objective = classifier(labelled, tiny, target=("large", "kind"))
    found = objective.probabilities(Encoder(backbone), objective.head(backbone), builder(labelled))
    assert {name: values.shape[1] for name, values in found.items()} == {"large": 2, "kind": 3}


def test_classes_of_atoms(crystals, tiny):
    values = (crystals.numbers % 3).double()
    labelled = crystals.with_targets({"rest": Target(values, level="atom")})
    backbone, builder, objective = classifier(labelled, tiny, target="rest")
    found = objective.probabilities(Encoder(backbone), objective.head(backbone), builder(crystals))
    assert found["rest"].shape == (crystals.atom_total, 3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, r"'kind' is 1\.5 in '.*', which is no class"),
        (-1.0, r"'kind' is -1 in"),
        (20_000.0, "goes up to 20000"),
    ],
)
def test_what_is_no_class_is_said(crystals, tiny, value, message):
    values = torch.zeros(len(crystals), dtype=torch.float64)
    values[7] = value
    labelled = crystals.with_targets({"kind": Target(values)})
    with pytest.raises(InputError, match=message) as raised:
        classifier(labelled, tiny)
    assert value == 20_000.0 or crystals.ids[7] in str(raised.value)


def test_a_class_that_training_did_not_have_is_refused_unless_it_was_announced(crystals, tiny):
    few, many = with_classes(crystals, count=2), with_classes(crystals, count=3)
    _, builder, objective = classifier(few, tiny)
    with pytest.raises(InputError, match=r"class 2, which is not among the 2.*classes = 3"):
        objective.view(many, builder, torch.Generator())
    _, builder, objective = classifier(few, tiny, classes=3)
    assert objective.view(many, builder, torch.Generator())


def test_classes_that_cannot_be_learned_are_refused(crystals, tiny):
    arguments = {"target": "kind", "task": "classification"}
    same = crystals.with_targets({"kind": Target(torch.ones(len(crystals)))})
    with pytest.raises(InputError, match="is 1 in all training crystals"):
        classifier(same, tiny)
    growing = Target(with_classes(crystals).target("kind").values, extensive=True)
    with pytest.raises(InputError, match="a class does not grow"):
        classifier(crystals.with_targets({"kind": growing}), tiny)
    with pytest.raises(RecipeError, match="depend on the size of the cell"):
        Property(**arguments, pooling="sum")
    with pytest.raises(RecipeError, match="no sign"):
        Property(**arguments, absolute=True)
    with pytest.raises(RecipeError, match="'classes' is for"):
        Property(target="kind", classes=3)
