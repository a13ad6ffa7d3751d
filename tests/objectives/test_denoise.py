from dataclasses import replace

import ase
import pytest
import torch

from epitaxy.crystals.crystals import cat
from epitaxy.crystals.exchange import from_ase
from epitaxy.crystals.neighbors import GraphBuilder, build_graph
from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError
from epitaxy.objectives import Denoise
from epitaxy.registry import build
from epitaxy.testing import examples
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import graph_builder, seeded_generator
from epitaxy.training.recipe import load_recipe
from epitaxy.training.train import train

MODES = ("head", "derivative")


def setup(tiny, crystals, dtype=torch.float64, **arguments):
    torch.manual_seed(0)
    backbone = build("backbones", tiny).to(dtype)
    objective = Denoise(**arguments)
    builder = graph_builder(backbone, [objective])
    view = objective.view(crystals.to(dtype=dtype), builder, seeded_generator(1))
    return backbone, objective, objective.head(backbone).to(dtype), view


def test_labels_point_back_and_leave_the_center_where_it_is(crystals, tiny):
    """Moving every atom by σ times its label gives the clean crystal back."""
    _, _, _, view = setup(tiny, crystals[:8], sigma=0.2, smallest=2)
    moved, labels = view.graphs[0].crystals, view.labels["way_back"].values
    sums = torch.zeros(8, 3, dtype=labels.dtype).index_add(0, moved.crystal_of_atom, labels)
    assert sums.abs().max() < 1e-10
    clean = crystals[:8].to(dtype=torch.float64)
    if torch.equal(moved.atom_counts, clean.atom_counts):
        restored = moved.positions + 0.2 * labels
        torch.testing.assert_close(restored, clean.positions)


def test_the_published_labels_are_the_displacements_in_angstrom(crystals, tiny):
    """The clean crystal is where the labels, taken back, lead: the mean displacement included."""
    some = crystals[crystals.atom_counts > 1][:20].to(dtype=torch.float64)
    objective = Denoise.preset("published")
    builder = graph_builder(build("backbones", tiny), [objective])
    view = objective.view(some, builder, seeded_generator(1))
    moved, labels = view.graphs[0].crystals, view.labels["way_back"].values
    assert torch.equal(moved.atom_counts, some.atom_counts)
    torch.testing.assert_close(moved.positions - labels, some.positions)
    assert float(labels.std()) == pytest.approx(0.1, rel=0.15)
    means = torch.zeros(20, 3, dtype=labels.dtype).index_add(0, moved.crystal_of_atom, labels)
    assert float((means / moved.atom_counts.unsqueeze(-1)).abs().mean()) > 0.01


def test_the_published_derivative_points_along_the_displacement(crystals, tiny):
    """−∂E/∂x that equals the displacement has no loss."""
    some = crystals[crystals.atom_counts > 1][:4]
    _, objective, _, view = setup(
        tiny, some, mode="derivative", label="displacement", centered=False, smallest=1
    )
    graph, labels = view.graphs[0], view.labels["way_back"].values
    clean = graph.crystals.positions - labels

    def rises_inwards(encoding, moved):  # E = −|x − clean|² / 2, so −∂E/∂x = x − clean
        apart = ((moved.crystals.positions - clean) ** 2).sum(-1)
        zeros = apart.new_zeros(len(moved))
        return -0.5 * zeros.index_add(0, moved.crystals.crystal_of_atom, apart).unsqueeze(-1)

    head = torch.nn.Identity()
    head.forward = rises_inwards
    figures = objective.loss(lambda moved, alter=None: None, head, view)
    assert float(figures["loss"].detach()) < 1e-12
    assert float(figures["explained"]) == pytest.approx(1.0)


def test_cells_of_one_atom_are_left_out_where_nothing_is_enlarged(crystals, tiny):
    alone = crystals.atom_counts == 1
    assert bool(alone.any())
    _, _, _, view = setup(tiny, crystals, label="displacement", centered=False, smallest=1)
    assert set(view.skipped) == {crystals.ids[int(i)] for i in torch.nonzero(alone).flatten()}
    with pytest.raises(InputError, match="are cells of one atom"):
        setup(tiny, crystals[alone], smallest=1)


def test_strain_deforms_the_cell_and_leaves_the_labels_alone(crystals, tiny):
    plain = setup(tiny, crystals[:32], smallest=2)[3]
    strained = setup(tiny, crystals[:32], smallest=2, strain=0.03)[3]
    before, after = plain.graphs[0].crystals, strained.graphs[0].crystals
    assert torch.equal(plain.labels["way_back"].values, strained.labels["way_back"].values)
    strain = torch.linalg.solve(before.cell, after.cell) - torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(strain, strain.transpose(1, 2), rtol=0, atol=1e-10)
    diagonal = strain.diagonal(dim1=1, dim2=2)
    beside = strain[:, (0, 0, 1), (1, 2, 2)]
    assert float(diagonal.std()) == pytest.approx(0.03, rel=0.25)
    assert float(beside.std()) == pytest.approx(0.03 / 2**0.5, rel=0.25)
    noise = -0.1 * plain.labels["way_back"].values
    deform = (torch.eye(3, dtype=torch.float64) + strain)[after.crystal_of_atom]
    clean = torch.einsum("ai,aij->aj", before.positions - noise, deform)
    torch.testing.assert_close(after.positions, clean + noise)


def test_a_relative_sigma_is_a_fraction_of_the_shortest_distance(crystals, tiny):
    """In a crystal blown up by 1.3 all displacements are 1.3 times larger."""
    some = crystals[:12].to(dtype=torch.float64)
    large = replace(some, positions=1.3 * some.positions, cell=1.3 * some.cell)
    wide = {**tiny, "cutoff": 8.0}
    moves = [
        setup(wide, one, sigma=0.05, relative=True, label="displacement")[3]
        .labels["way_back"]
        .values
        for one in (some, large)
    ]
    torch.testing.assert_close(moves[1], 1.3 * moves[0])
    salt = examples.symmetric_crystals()[0]  # its shortest distance is 2.1 Å
    back = setup(wide, salt, sigma=0.05, relative=True)[3].labels["way_back"].values
    gone = setup(wide, salt, sigma=0.05, relative=True, label="displacement")[3]
    torch.testing.assert_close(gone.labels["way_back"].values, -0.05 * 2.1 * back)


def test_a_crystal_whose_atoms_are_farther_apart_than_the_cutoff_has_no_relative_sigma(tiny):
    far = from_ase(ase.Atoms("Ar2", positions=[[0, 0, 0], [9, 0, 0]], cell=[30, 30, 30], pbc=True))
    far = replace(far, ids=["far"])
    with pytest.raises(InputError, match=r"far are .* no two atoms within the cutoff"):
        setup(tiny, far, relative=True)


def test_atoms_that_collide_are_told_before_the_training(crystals, tiny):
    builder = graph_builder(build("backbones", tiny), [Denoise()])
    with pytest.warns(RuntimeWarning, match=r"sigma = 1\.0 brings atoms of \d+% of the crystals"):
        Denoise(sigma=1.0).prepare(crystals, builder, seeded_generator(0))
    Denoise(sigma=0.1).prepare(crystals, builder, seeded_generator(0))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"sigma": (0.8, 1.2)}, r"sigma = \(0\.8, 1\.2\) brings"),
        ({"sigma": 0.4, "relative": True}, r"sigma = 0\.4 \(relative\) brings"),
        ({"sigma": (0.01, 0.9), "relative": True}, r"sigma = \(0\.01, 0\.9\) \(relative\)"),
    ],
)
def test_collisions_are_told_of_ranges_and_fractions_too(crystals, tiny, arguments, told):
    builder = graph_builder(build("backbones", tiny), [Denoise()])
    with pytest.warns(RuntimeWarning, match=told):
        Denoise(**arguments).prepare(crystals, builder, seeded_generator(0))
    low = arguments["sigma"][0] if isinstance(arguments["sigma"], tuple) else arguments["sigma"]
    small = {**arguments, "sigma": (0.01 * low, 0.05 * low)}
    Denoise(**small).prepare(crystals, builder, seeded_generator(0))


def losses_of_a_turned_view(kind):
    """Return the loss of fixed vectors, and of the same view and vectors turned together."""
    crystals, objective = examples.low_symmetry_crystals(), Denoise(loss_kind=kind, smallest=1)
    view = objective.view(crystals, GraphBuilder(4.0), seeded_generator(0))
    labels = view.labels["way_back"].values
    guess = torch.randn(labels.shape, generator=torch.Generator().manual_seed(1)).double()
    losses = []
    for matrix in (torch.eye(3, dtype=torch.float64), examples.rotation(3)):
        turned = replace(view, labels={"way_back": Target(labels @ matrix.T, level="atom")})
        head = torch.nn.Identity()
        head.forward = lambda encoding, graph, matrix=matrix: guess @ matrix.T
        losses.append(objective.loss(lambda graph, alter=None: None, head, turned)["loss"])
    by_hand = torch.stack([(one @ one) ** 0.5 for one in guess - labels]).mean()
    return losses, by_hand


def test_the_norm_is_the_mean_length_and_does_not_turn_with_the_crystal():
    (plain, turned), by_hand = losses_of_a_turned_view("norm")
    torch.testing.assert_close(plain, by_hand)
    torch.testing.assert_close(turned, plain)
    (plain, turned), _ = losses_of_a_turned_view("l1")
    assert abs(float(turned - plain)) > 1e-3 * float(plain)


def test_a_vector_that_is_right_has_a_norm_with_a_finite_gradient(crystals, tiny):
    """Of one-atom cells both the force and its label are exactly zero."""
    lone = crystals[crystals.atom_counts == 1][:2]
    backbone, objective, head, view = setup(
        tiny, lone, mode="derivative", loss_kind="norm", smallest=2
    )
    zero = replace(view, labels={"way_back": Target(0.0 * view.labels["way_back"].values, "atom")})
    clean = replace(zero, graphs=(build_graph(lone.to(dtype=torch.float64), 4.0),))
    clean = replace(clean, labels={"way_back": Target(torch.zeros(2, 3).double(), "atom")})
    for one in (zero, clean):
        loss = objective.loss(Encoder(backbone), head, one)["loss"]
        parameters = [*backbone.parameters(), *head.parameters()]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        assert all(torch.isfinite(g).all() for g in gradients if g is not None)


def test_the_published_energy_reads_the_sum_of_the_atoms(crystals, tiny):
    backbone = build("backbones", tiny)
    assert Denoise.preset("published", mode="derivative").head(backbone).readout == "pooled"
    assert Denoise(mode="derivative").head(backbone).readout == "atoms"


def test_a_denoiser_learns_the_force_of_springs(tiny):
    """Noise is what an Einstein crystal does when it is warm: the way back is its force, −k u."""
    salt = examples.supercell(examples.symmetric_crystals()[0])[0].to(dtype=torch.float32)
    batch = cat([salt] * 4)
    torch.manual_seed(0)
    backbone, objective = build("backbones", tiny), Denoise(mode="derivative", sigma=0.15)
    head, builder = objective.head(backbone), graph_builder(backbone, [objective])
    optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=5e-3)
    for step in range(120):
        view = objective.view(batch, builder, seeded_generator(step))
        optimizer.zero_grad()
        objective.loss(Encoder(backbone), head, view)["loss"].backward()
        optimizer.step()
    head.eval()
    fresh = objective.view(batch, builder, seeded_generator("fresh"))
    forces = objective._by_derivative(Encoder(backbone), head, fresh.graphs[0])
    moved = fresh.graphs[0].crystals.positions
    springs = batch.positions - moved
    assert float(torch.cosine_similarity(forces.flatten(), springs.flatten(), dim=0)) > 0.9


def test_the_edges_are_those_of_the_moved_crystal(crystals, tiny):
    _, _, _, view = setup(tiny, crystals[:6], sigma=0.3)
    graph = view.graphs[0]
    exact = build_graph(graph.crystals, graph.cutoff)
    assert torch.equal(graph.center, exact.center)
    assert graph.distances().max() <= graph.cutoff


def test_noise_is_new_at_every_step_and_the_same_for_the_same_seed(crystals, tiny):
    backbone = build("backbones", tiny)
    objective = Denoise()
    builder = graph_builder(backbone, [objective])

    def labels(seed):
        view = objective.view(crystals[:4], builder, seeded_generator(seed))
        return view.labels["way_back"].values

    assert torch.equal(labels(1), labels(1))
    first, second = labels(1), labels(2)
    assert first.shape != second.shape or not torch.allclose(first, second)


def test_a_range_of_sigmas_differs_from_crystal_to_crystal(crystals, tiny):
    one = Denoise(sigma=(0.01, 0.5))
    sigmas = one._sigmas(crystals, seeded_generator(0)).flatten()
    assert 0.01 <= float(sigmas.min()) < float(sigmas.max()) <= 0.5
    first = crystals.crystal_of_atom == 0
    assert sigmas[first].unique().numel() == 1


@pytest.mark.parametrize("mode", MODES)
def test_predictions_turn_with_the_crystal(crystals, tiny, mode):
    backbone, objective, head, view = setup(tiny, crystals[:4], mode=mode)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    graph = view.graphs[0]
    moved = graph.crystals
    turned = replace(
        graph,
        crystals=replace(moved, positions=moved.positions @ rotation, cell=moved.cell @ rotation),
    )
    find = objective._by_derivative if mode == "derivative" else objective._by_head
    before = find(Encoder(backbone), head, graph)
    after = find(Encoder(backbone), head, turned)
    torch.testing.assert_close(after, before @ rotation, rtol=1e-9, atol=1e-10)
    assert before.abs().max() > 1e-4


def test_derivative_predictions_sum_to_zero_and_match_finite_differences(crystals, tiny):
    backbone, objective, head, view = setup(tiny, crystals[:3], mode="derivative")
    graph = view.graphs[0]
    forces = objective._by_derivative(Encoder(backbone), head, graph)
    sums = torch.zeros(3, 3, dtype=forces.dtype)
    sums = sums.index_add(0, graph.crystals.crystal_of_atom, forces.detach())
    assert sums.abs().max() < 1e-10

    def energy(by):
        moved = graph.displaced(by)
        return float(head(backbone(moved), moved).detach().sum())

    step = torch.zeros_like(graph.crystals.positions)
    step[1, 2] = 1e-5
    slope = (energy(step) - energy(-step)) / 2e-5
    assert float(forces[1, 2].detach()) == pytest.approx(-slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", ["cgcnn", "megnet"])
def test_a_backbone_without_vectors_predicts_vectors_that_turn(crystals, name):
    settings = {"name": name, "preset": "small"}
    backbone, objective, head, view = setup(settings, crystals[:4], mode="head")
    assert not backbone.has_vectors
    backbone.eval()
    graph = view.graphs[0]
    turned = replace(graph, crystals=examples.turned(graph.crystals, examples.rotation()))
    before = objective._by_head(Encoder(backbone), head, graph)
    after = objective._by_head(Encoder(backbone), head, turned)
    torch.testing.assert_close(after, before @ examples.rotation().T, rtol=1e-9, atol=1e-10)
    assert before.abs().max() > 1e-4
    objective.loss(Encoder(backbone), head, view)["loss"].backward()
    gradients = [p.grad for p in head.parameters()]
    assert all(gradient is not None and bool(gradient.any()) for gradient in gradients)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_reach_backbone_and_head(crystals, tiny, mode):
    backbone, objective, head, view = setup(tiny, crystals[:8], mode=mode)
    objective.loss(Encoder(backbone), head, view)["loss"].backward()
    for module in (backbone, head):
        grads = [p.grad for p in module.parameters()]
        reached = sum(g is not None and bool(g.abs().sum() > 0) for g in grads)
        assert reached > 0.6 * len(grads)


@pytest.mark.parametrize("mode", MODES)
def test_the_loss_falls(crystals, tiny, mode):
    recipe = load_recipe("fingerprint").altered(
        {
            "backbone": tiny,
            "objectives": [{"name": "denoise", "mode": mode}],
            "training.epochs": 15,
            "training.batch_size": 16,
            "training.learning_rate": 5e-3,
        }
    )
    rows = train(recipe, crystals[:48], crystals[48:]).fitted.rows
    held = [row["loss"] for row in rows if row["split"] == "validation"]
    assert held[-1] < 0.97 * held[0]


def test_free_atoms_are_skipped_and_named(crystals, tiny):
    atom = replace(from_ase(ase.Atoms("Ar")), ids=["argon"])
    _, _, _, view = setup(tiny, cat([crystals[:2].with_targets({}), atom.to(dtype=torch.float32)]))
    assert view.skipped == ("argon",)
    assert len(view) == 2
    with pytest.raises(InputError, match="argon are free atoms"):
        setup(tiny, atom)


def test_clean_and_noisy_objectives_train_together(crystals, tiny):
    recipe = load_recipe("fingerprint").altered(
        {
            "backbone": tiny,
            "objectives": [{"name": "fingerprint"}, {"name": "denoise", "weight": 0.5}],
            "training.epochs": 2,
        }
    )
    row = train(recipe, crystals[:32]).fitted.rows[-1]
    expected = row["fingerprint/loss"] + 0.5 * row["denoise/loss"]
    assert row["loss"] == pytest.approx(expected, rel=1e-6)
