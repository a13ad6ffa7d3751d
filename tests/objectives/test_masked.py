from dataclasses import replace

import pytest
import torch
from torch import nn

from epitaxy.crystals.crystals import cat
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.errors import RecipeError
from epitaxy.objectives import Masked
from epitaxy.registry import build, settings_of
from epitaxy.testing.examples import low_symmetry_crystals, rotation, symmetric_crystals, turned
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import graph_builder, seeded_generator

CUTOFF = 4.0
ALL = ("group", "period", "element")


class Recorder(Encoder):
    """An encoder that keeps what it is given."""

    def __init__(self, backbone):
        super().__init__(backbone)
        self.backbone, self.graphs, self.embeddings = backbone, [], []

    def __call__(self, graph, alter=None):
        embedding = self.backbone.embed(graph)
        embedding = embedding if alter is None else alter(embedding)
        self.graphs.append(graph)
        self.embeddings.append(embedding)
        return self.backbone.propagate(graph, embedding)


class Knows(nn.Module):
    """A head that has its answers ready."""

    def __init__(self, answers):
        super().__init__()
        self.answers = answers

    def forward(self, *_):
        return self.answers


def seen(objective, crystals, seed=1):
    builder = GraphBuilder(CUTOFF)
    objective = objective.prepare(crystals, builder, seeded_generator(0))
    return objective, objective.view(crystals, builder, seeded_generator(seed))


def keys(graph):
    rows = zip(graph.center.tolist(), graph.neighbor.tolist(), graph.shift.tolist(), strict=True)
    return {(center, neighbor, tuple(shift)) for center, neighbor, shift in rows}


def perfect_answers(objective, view, crystals):
    masked = view.labels["element"].present()
    numbers = crystals.numbers[masked]
    answers = {"element": nn.functional.one_hot(numbers - 1, 118) * 1e4}
    if objective.edge_ratio:
        bins = objective.bins(CUTOFF)
        wanted = torch.floor(view.graphs[1].distances() / objective.bin_width).long()
        answers["distance"] = nn.functional.one_hot(wanted, bins) * 1e4
    return {name: values.double() for name, values in answers.items()}


def test_as_many_atoms_are_masked_as_the_paper_says(crystals):
    some = cat([crystals[:20].with_targets({}), cat([crystals[3].with_targets({})] * 3)])
    _, view = seen(Masked(), some)
    masked = view.labels["element"].present()
    found = torch.bincount(some.crystal_of_atom[masked], minlength=len(some))
    wanted = [min(int(n), int(0.15 * int(n) + 1)) for n in some.atom_counts]
    assert found.tolist() == wanted


def test_the_labels_are_the_elements_that_the_graphs_no_longer_hold(crystals):
    _, view = seen(Masked(), crystals[:10])
    labels = view.labels["element"]
    masked = labels.present()
    assert torch.equal(labels.values[masked].long(), crystals[:10].numbers[masked])
    for graph in view.graphs:
        assert bool((graph.crystals.numbers[masked] == 1).all())
        assert torch.equal(graph.crystals.numbers[~masked], crystals[:10].numbers[~masked])
        assert not graph.crystals.targets


@pytest.mark.parametrize("together", ["pair", "shell"])
def test_the_encoder_receives_neither_hidden_edges_nor_their_reverses(
    crystals, tiny, prepared, together
):
    objective = Masked(edge_ratio=0.3, together=together)
    backbone, objective, head, builder = prepared(tiny, objective, crystals)
    view = objective.view(crystals[:12], builder, seeded_generator(3))
    recorder = Recorder(backbone)
    objective.loss(recorder, head, view)
    (graph,) = recorder.graphs
    whole, received, hidden = keys(builder(crystals[:12])), keys(graph), keys(view.graphs[1])
    reverses = {(n, c, tuple(-s for s in shift)) for c, n, shift in hidden}
    assert hidden
    assert received | hidden == whole
    assert not received & (hidden | reverses)
    assert len(recorder.embeddings[0].edges) == len(received)


def test_with_shells_no_image_of_a_hidden_pair_is_left_at_its_distance():
    _, view = seen(Masked(edge_ratio=0.3, together="shell"), symmetric_crystals())
    held = [
        {
            (min(c, n), max(c, n), round(d, 2))
            for c, n, d in zip(
                graph.center.tolist(),
                graph.neighbor.tolist(),
                graph.distances().tolist(),
                strict=True,
            )
        }
        for graph in view.graphs
    ]
    assert held[1]
    assert not held[0] & held[1]


def test_other_elements_under_the_masks_change_nothing_the_encoder_receives_or_returns(
    crystals, every_backbone, prepared
):
    backbone, objective, head, builder = prepared(every_backbone, Masked(), crystals)
    torch.nn.init.normal_(head.tokens.node)
    torch.nn.init.normal_(head.tokens.neighbor_node)
    backbone.eval()
    some = crystals[:8].with_targets({})
    view = objective.view(some, builder, seeded_generator(5))
    masked = view.labels["element"].present()
    other = replace(some, numbers=torch.where(masked, some.numbers % 80 + 1, some.numbers))
    changed = objective.view(other, builder, seeded_generator(5))
    assert not torch.equal(
        view.labels["element"].values[masked], changed.labels["element"].values[masked]
    )
    nodes, losses = [], []
    for one in (view, changed):
        recorder = Recorder(backbone)
        losses.append(objective.loss(recorder, head, one)["loss"])
        (embedding,) = recorder.embeddings
        for token, rows in (
            (head.tokens.node, embedding.nodes),
            (head.tokens.neighbor_node, embedding.neighbor_nodes),
        ):
            if rows is not None:
                assert bool((rows[masked] == token).all())
        nodes.append(backbone.propagate(recorder.graphs[0], embedding).nodes)
    assert torch.equal(*nodes)
    assert not torch.equal(*losses)


def test_the_token_and_not_the_stand_in_is_what_hides(crystals, tiny, prepared):
    """True numbers left in the graph would not reach the encoder either."""
    backbone, objective, head, builder = prepared(tiny, Masked(), crystals)
    view = objective.view(crystals[:8], builder, seeded_generator(5))
    masked = view.labels["element"].present()

    def encoded(graph):
        return Encoder(backbone)(graph, lambda embedding: head.tokens(embedding, masked)).nodes

    visible = view.graphs[0]
    told = replace(visible, crystals=replace(visible.crystals, numbers=crystals[:8].numbers))
    assert torch.equal(encoded(visible), encoded(told))


def test_perfect_answers_have_no_loss_and_full_accuracy_and_skill():
    crystals = low_symmetry_crystals()
    objective, view = seen(Masked(facts=("element",)), crystals)
    answers = perfect_answers(objective, view, crystals)
    figures = objective.loss(lambda *_: None, Knows(answers), view)
    assert figures.pop("loss") == 0
    assert set(figures) == {
        f"{fact}_{score}" for fact in ("element", "distance") for score in ("accuracy", "skill")
    }
    assert all(float(value) == pytest.approx(1.0) for value in figures.values())


def test_the_frequencies_of_the_training_crystals_have_no_skill(crystals):
    objective, view = seen(Masked(facts=ALL), crystals)
    rows = {fact: int(view.labels["element"].present().sum()) for fact in ALL}
    rows["distance"] = view.graphs[1].edge_total
    frequencies = objective.fitted["frequencies"]
    answers = {
        name: torch.log(torch.tensor(frequencies[name])).expand(count, -1)
        for name, count in rows.items()
    }
    figures = objective.loss(lambda *_: None, Knows(answers), view)
    for name in rows:
        assert sum(frequencies[name]) == pytest.approx(1.0)
        assert float(figures[f"{name}_skill"]) == pytest.approx(0.0, abs=1e-5)


def test_groups_and_periods_are_those_of_the_table():
    from epitaxy.objectives.masked import _class_of

    numbers = torch.tensor([1, 2, 8, 26, 60, 79])
    assert (_class_of("group", numbers) + 1).tolist() == [1, 18, 16, 8, 3, 11]
    assert (_class_of("period", numbers) + 1).tolist() == [1, 1, 2, 4, 6, 6]
    assert (_class_of("element", numbers) + 1).tolist() == numbers.tolist()


def test_bins_cover_all_distances_to_the_cutoff():
    objective = Masked(bin_width=0.3)
    bins = objective.bins(4.0)
    assert bins == 14
    assert Masked(bin_width=0.2).bins(4.0) == 20
    distances = torch.tensor([0.0, 0.29, 0.31, 3.95, 4.0])
    assert objective.bin_of(distances, bins).tolist() == [0, 0, 1, 13, 13]


def test_labels_do_not_turn_with_the_crystal():
    crystals = low_symmetry_crystals()
    views = [seen(Masked(), one)[1] for one in (crystals, turned(crystals, rotation()))]
    elements = [view.labels["element"].values for view in views]
    torch.testing.assert_close(*elements, equal_nan=True)
    assert keys(views[0].graphs[1]) == keys(views[1].graphs[1])
    torch.testing.assert_close(*[torch.sort(view.graphs[1].distances()).values for view in views])


def test_the_same_seed_gives_the_same_view_and_another_seed_another():
    first, again, other = (seen(Masked(), low_symmetry_crystals(), seed)[1] for seed in (1, 1, 2))
    values = [view.labels["element"].values for view in (first, again, other)]
    torch.testing.assert_close(values[0], values[1], equal_nan=True)
    assert keys(first.graphs[1]) == keys(again.graphs[1])
    assert keys(first.graphs[1]) != keys(other.graphs[1])


def test_without_hidden_edges_there_is_no_task_for_them(crystals, tiny, prepared):
    backbone, objective, head, builder = prepared(tiny, Masked(edge_ratio=0.0), crystals)
    view = objective.view(crystals[:4], builder, seeded_generator(0))
    assert view.graphs[1].edge_total == 0
    assert keys(view.graphs[0]) == keys(builder(crystals[:4]))
    figures = objective.loss(Encoder(backbone), head, view)
    assert not any(name.startswith("distance") for name in figures)


def test_facts_are_checked():
    for facts in ((), ("group", "group")):
        with pytest.raises(RecipeError, match="give some of group, period, element"):
            Masked(facts=facts)
    with pytest.raises(RecipeError, match=r"masked|Masked"):
        build("objectives", {"name": "masked", "facts": ["colour"]})


def test_settings_and_fitted_numbers_build_the_same_objective_again(crystals, tiny):
    backbone = build("backbones", tiny)
    objective = Masked(facts=("element",), bin_width=0.5)
    builder = graph_builder(backbone, [objective])
    objective = objective.prepare(crystals, builder, seeded_generator(0))
    again = build("objectives", settings_of(objective)).with_fitted(objective.fitted)
    assert settings_of(again) == settings_of(objective)
    shapes = [
        {n: p.shape for n, p in one.head(backbone).named_parameters()} for one in (objective, again)
    ]
    assert shapes[0] == shapes[1]


def test_the_loss_falls_on_every_backbone(crystals, every_backbone, prepared, trained):
    parts = prepared(every_backbone, Masked(facts=ALL), crystals)
    before, after = trained(*parts, crystals[:16])
    assert after["loss"] < 0.9 * before["loss"]
    assert after["period_skill"] > before["period_skill"]
