"""Energies, forces and stresses: labels, units, missing values, ratios, and what is learnt."""

from dataclasses import replace

import pytest
import torch

from epitaxy.crystals.supercells import supercells
from epitaxy.crystals.targets import Target
from epitaxy.datasets.bundled import bundled
from epitaxy.errors import InputError, RecipeError
from epitaxy.heads.potential import energy_forces_stress, fit_references, unexplained_energy
from epitaxy.objectives.energy_forces import EnergyForces
from epitaxy.registry import build, validated
from epitaxy.testing import examples
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import seeded_generator


@pytest.fixture(scope="module")
def frames():
    """Displaced frames among them: forces and stresses are not all zero."""
    crystals = bundled()
    strong = crystals.targets["forces"].values.abs().amax(1)
    of_crystal = torch.zeros(len(crystals)).scatter_reduce(
        0, crystals.crystal_of_atom, strong.float(), "amax"
    )
    small = crystals.atom_counts <= 6
    order = torch.argsort(torch.where(small, of_crystal, -1.0), descending=True)
    return crystals[order[:48]]


def with_values(crystals, name, change):
    target = crystals.targets[name]
    changed = change(target)
    return crystals.with_targets({**crystals.targets, name: changed})


def figures(objective, backbone, head, builder, crystals):
    view = objective.view(crystals, builder, seeded_generator(0))
    return objective.loss(Encoder(backbone), head, view)


def test_every_backbone_learns_energies_forces_and_stresses(
    every_backbone, frames, prepared, trained
):
    objective = EnergyForces(moments="magmoms")
    made = prepared(every_backbone, objective, frames)
    backbone, objective, head, builder = made
    before, after = trained(backbone, objective, head, builder, frames, steps=30)
    assert set(before) == {"loss", "energy", "forces", "stress", "moments"}
    assert after["loss"] < 0.9 * before["loss"]


@pytest.mark.parametrize("preset", ["1:0:0", "0:1:0", "0:1:1", "1:1:1", "1:500:500"])
def test_the_published_ratios_weigh_the_terms(preset, tiny, frames, prepared):
    objective = EnergyForces.preset(preset)
    energy, forces, stress = objective.ratio
    backbone, objective, head, builder = prepared(tiny, objective, frames)
    found = figures(objective, backbone, head, builder, frames)
    total = sum(
        weight * float(found[term]) / objective.scales[term]
        for term, weight in (("energy", energy), ("forces", forces), ("stress", stress))
        if weight
    )
    assert float(found["loss"].detach()) == pytest.approx(total / sum(objective.ratio), rel=1e-4)
    assert objective.derivatives == bool(forces or stress)
    assert objective.needs == tuple(
        name for name in ("energy", "forces", "stress") if name in found
    )


def test_units_and_energies_per_atom_do_not_change_the_loss(tiny, frames, prepared):
    backbone, objective, head, builder = prepared(tiny, EnergyForces(), frames)
    wanted = figures(objective, backbone, head, builder, frames)["loss"]
    other = with_values(
        frames,
        "energy",
        lambda t: Target(t.values.double() / frames.atom_counts * 1e3, "crystal", "meV/atom"),
    )
    other = with_values(other, "stress", lambda t: t.converted("kbar"))
    other = with_values(other, "forces", lambda t: t.converted("Ha/Bohr"))
    again = objective.prepare(other, builder, seeded_generator("fit"))
    assert again.scales == pytest.approx(objective.scales, rel=1e-5)
    torch.testing.assert_close(
        figures(again, backbone, head, builder, other)["loss"], wanted, rtol=1e-5, atol=1e-7
    )


def test_elements_energies_are_taken_off_and_given_back(tiny, frames, prepared):
    """Energies that are sums over elements leave a network nothing to learn."""
    of_elements = torch.linspace(-9.0, 2.0, 119, dtype=torch.float64)
    sums = torch.zeros(len(frames), dtype=torch.float64).index_add(
        0, frames.crystal_of_atom, of_elements[frames.numbers]
    )
    frames = with_values(frames, "energy", lambda t: replace(t, values=sums))
    objective = EnergyForces(ratio=(1.0, 0.0, 0.0))
    backbone, objective, head, builder = prepared(tiny, objective, frames)
    view = objective.view(frames, builder, seeded_generator(0))
    assert view.labels["energy"].values.abs().max() < 1e-3
    with torch.no_grad():
        found = head["potential"](backbone(view.graphs[0]), view.graphs[0])
        head["potential"].scale = 0.0
        flat = head["potential"](backbone(view.graphs[0]), view.graphs[0])
    torch.testing.assert_close(flat, sums, rtol=0, atol=1e-3)
    assert not torch.equal(found, flat)


def test_missing_labels_carry_no_loss(tiny, frames, prepared):
    backbone, objective, head, builder = prepared(tiny, EnergyForces(), frames)
    half = len(frames) // 2
    blank = frames
    for name in ("energy", "forces", "stress"):

        def emptied(target):
            values = target.values.clone()
            values[len(values) // 2 :] = torch.nan
            return target.with_values(values)

        blank = with_values(blank, name, emptied)
    atoms = int(frames.offsets[half])
    forces = frames.targets["forces"].values.clone()
    forces[atoms:] = torch.nan
    blank = with_values(blank, "forces", lambda t: t.with_values(forces))
    there = figures(objective, backbone, head, builder, frames[:half])
    found = figures(objective, backbone, head, builder, blank)
    for name, value in there.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)
    found["loss"].backward()
    gradients = [p.grad for p in backbone.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_a_slab_has_no_stress_to_learn(tiny, frames, prepared):
    slab = replace(frames[:4], pbc=torch.tensor([[True, True, False]] * 4))
    backbone, objective, head, builder = prepared(tiny, EnergyForces(), frames)
    found = figures(objective, backbone, head, builder, slab)
    assert bool(torch.isnan(found["stress"]))
    assert float(found["forces"]) > 0.0
    assert bool(torch.isfinite(found["loss"]))


def test_moments_are_learnt_without_their_sign(tiny, frames, prepared):
    objective = EnergyForces(ratio=(1.0, 0.0, 0.0), moments="magmoms")
    turned = with_values(frames, "magmoms", lambda t: t.with_values(-t.values))
    backbone, objective, head, builder = prepared(tiny, objective, frames)
    one = figures(objective, backbone, head, builder, frames)
    other = figures(objective, backbone, head, builder, turned)
    torch.testing.assert_close(one["loss"], other["loss"])


def test_as_published_it_compares_totals(tiny, frames, prepared):
    published = EnergyForces(
        ratio=(1.0, 0.0, 0.0), references=False, per_atom=False, standardize=False
    )
    backbone, objective, head, builder = prepared(tiny, published, frames)
    graph = builder(frames)
    with torch.no_grad():
        totals = head["potential"](backbone(graph), graph)
        found = figures(objective, backbone, head, builder, frames)
    wanted = (totals - frames.targets["energy"].values.double()).abs().mean()
    torch.testing.assert_close(found["loss"], wanted, rtol=1e-5, atol=1e-4)


def test_as_published_the_energy_is_a_perceptron_of_the_sum(tiny, frames, prepared):
    """Its forces are derivatives all the same, and it does not double with the cell."""
    some = frames[:4].to(dtype=torch.float64)
    asked = {"references": False, "standardize": False}
    doubled = supercells(some, torch.tensor([[2, 1, 1]] * 4))
    for readout, doubles in (("atoms", True), ("pooled", False)):
        objective = EnergyForces(readout=readout, **asked)
        backbone, objective, head, builder = prepared(tiny, objective, frames)
        backbone, potential = backbone.double().eval(), head["potential"].double().eval()
        for parameter in potential.parameters():
            torch.nn.init.normal_(parameter, std=0.3)

        def energy(graph, backbone=backbone, potential=potential):
            return potential(backbone(graph), graph)

        one, two = energy(builder(some)), energy(builder(doubled))
        assert torch.allclose(two, 2 * one, rtol=1e-6) is doubles
        forces = energy_forces_stress(energy, builder(some)).forces
        step = torch.zeros_like(some.positions)
        step[0, 0] = 1e-4
        up, down = (
            energy(builder(replace(some, positions=some.positions + sign * step)))[0].detach()
            for sign in (1, -1)
        )
        assert float(forces[0, 0]) == pytest.approx(float((down - up) / 2e-4), rel=1e-4, abs=1e-6)


def test_what_it_cannot_use_is_a_clear_error(tiny, frames, prepared):
    with pytest.raises(RecipeError, match=r"the ratio 0:0:0 sums to zero"):
        EnergyForces(ratio=(0.0, 0.0, 0.0))
    with pytest.raises(RecipeError, match="ratio"):
        validated(EnergyForces, {"ratio": (1, -1, 0)})
    bare = frames.with_targets({"band_gap": frames.targets["energy"]})
    with pytest.raises(InputError, match=r"no target 'energy'.*Targets they have: band_gap"):
        prepared(tiny, EnergyForces(), bare)
    empty = with_values(frames, "stress", lambda t: t.with_values(t.values * torch.nan))
    with pytest.raises(InputError, match=r"'stress' is missing in all 48 crystals"):
        prepared(tiny, EnergyForces(), empty)
    with pytest.raises(InputError, match=r"'energy' has one components? per crystal; as forces"):
        prepared(tiny, EnergyForces(forces="energy"), frames)
    odd = with_values(frames, "forces", lambda t: replace(t, unit="eV"))
    with pytest.raises(InputError, match="one cannot be converted into the other"):
        prepared(tiny, EnergyForces(), odd)


def test_the_norm_of_forces_and_stresses_does_not_turn_with_the_crystal(tiny, frames, prepared):
    """A network that predicts zero: the loss is the mean length of the labels."""

    def loss(objective, crystals):
        made = prepared(tiny, objective, crystals, torch.float64)
        for weight in made[2].parameters():
            weight.data.zero_()
        return figures(made[1], made[0], made[2], made[3], crystals)["loss"].detach()

    some = frames[:12].to(dtype=torch.float64)
    matrix = examples.rotation(1)
    forces, stress = (some.targets[name] for name in ("forces", "stress"))
    turned = examples.turned(some, matrix).with_targets(
        {
            **some.targets,
            "forces": forces.with_values(forces.values @ matrix.T),
            "stress": stress.with_values(matrix @ stress.values @ matrix.T),
        }
    )
    raw = EnergyForces(ratio=(0.0, 1.0, 0.0), loss_kind="norm", standardize=False)
    lengths = torch.stack([(one @ one) ** 0.5 for one in forces.values])
    torch.testing.assert_close(loss(raw, some), lengths.mean(), rtol=1e-6, atol=0)
    for kind, same in (("norm", True), ("l1", False)):
        balanced = EnergyForces(ratio=(0.0, 1.0, 1.0), loss_kind=kind)
        before, after = loss(balanced, some), loss(balanced, turned)
        assert (abs(float(after / before) - 1.0) < 1e-6) == same
    size = (lengths.square().mean()) ** 0.5
    scaled = loss(EnergyForces(ratio=(0.0, 1.0, 0.0), loss_kind="norm"), some)
    torch.testing.assert_close(scaled, lengths.mean() / size, rtol=1e-6, atol=0)


def test_a_network_that_fails_is_no_missing_label(tiny, frames, prepared):
    backbone, objective, head, builder = prepared(tiny, EnergyForces(), frames)
    next(head.parameters()).data.fill_(torch.nan)
    assert bool(torch.isnan(figures(objective, backbone, head, builder, frames)["loss"]))


def test_it_is_found_by_name():
    objective = build("objectives", {"name": "energy_forces", "preset": "1:500:500"})
    assert objective.ratio == (1.0, 500.0, 500.0)


def test_few_frames_do_not_make_the_energies_scale_collapse(frames):
    """With as many elements as frames the fit is perfect where it was fitted, and only there."""
    energies = frames.targets["energy"].values
    few = frames[:12]
    scale = unexplained_energy(few, energies[:12])
    references = fit_references(few, energies[:12])
    per_atom = energies / frames.atom_counts
    left = per_atom - _per_atom(references, frames)
    inside, outside = (float(x.square().mean().sqrt()) for x in (left[:12], left[12:]))
    assert inside < 0.1 * outside
    assert 0.1 * outside < scale < 10 * outside


def test_the_scale_is_that_of_leaving_out_each_crystal(frames):
    energies = frames.targets["energy"].values.double()
    per_atom = energies / frames.atom_counts
    left = []
    for one in range(len(frames)):
        others = torch.arange(len(frames)) != one
        # the mean is that of all: references of absent elements take it
        shifted = energies - per_atom.mean() * frames.atom_counts
        found = fit_without_mean(frames[others], shifted[others])
        left.append(shifted[one] / frames.atom_counts[one] - _per_atom(found, frames[one])[0])
    wanted = torch.stack(left).clamp(
        -(per_atom - per_atom.mean()).abs().max(), (per_atom - per_atom.mean()).abs().max()
    )
    found = unexplained_energy(frames, energies)
    assert found == pytest.approx(float(wanted.square().mean().sqrt()), rel=1e-3)


def fit_without_mean(crystals, energies, ridge=1e-6):
    fractions = torch.zeros(len(crystals), 119, dtype=torch.float64)
    ones = torch.ones(crystals.atom_total, dtype=torch.float64)
    fractions.index_put_((crystals.crystal_of_atom, crystals.numbers), ones, accumulate=True)
    fractions = fractions / crystals.atom_counts.unsqueeze(1)
    normal = fractions.T @ fractions + ridge * torch.eye(119, dtype=torch.float64)
    return torch.linalg.solve(normal, fractions.T @ (energies / crystals.atom_counts))


def _per_atom(references, crystals):
    sums = torch.zeros(len(crystals), dtype=torch.float64)
    sums = sums.index_add(0, crystals.crystal_of_atom, references[crystals.numbers])
    return sums / crystals.atom_counts
