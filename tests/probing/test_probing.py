"""What a representation knows comes out, what it does not know does not."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from epitaxy.backbones import MEGNet, TorchMDET
from epitaxy.cli import representations as cli
from epitaxy.crystals.arrow import write_parquet
from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError, RunFolderError
from epitaxy.evaluation.probe_results import crystal_errors
from epitaxy.evaluation.probe_task import network_representation
from epitaxy.evaluation.probes import run_probe, untrained_twin
from epitaxy.evaluation.regressions import Ridge
from epitaxy.objectives import Property
from epitaxy.registry import build
from epitaxy.training.checkpoint import Model, save_model
from epitaxy.training.coverage import Coverage
from epitaxy.training.embed import embed

QUIET = {"progress": False, "draw": False}


@pytest.fixture(scope="module")
def some(crystals):
    return crystals[:40]


@pytest.fixture(scope="module")
def model(some):
    torch.manual_seed(1)
    backbone = TorchMDET(width=8, layers=2, heads=2, radial=6, cutoff=3.0).eval()
    return Model(backbone, (), nn.ModuleList(), Coverage.of(some))


def labeled(crystals, values, **declared):
    values = torch.as_tensor(np.asarray(values), dtype=torch.float64)
    return crystals.with_targets({"label": Target(values, **declared)})


def test_a_target_that_is_linear_in_a_layer_is_found_there(model, some):
    rows = embed(model, some, layer="1").filter(like="[").to_numpy()
    found = run_probe(labeled(some, rows @ np.arange(8.0) + 3.0), "label", from_=model, **QUIET)
    results = found.results.set_index("contender")
    scale = results.loc["dummy", "mae"]
    assert results.loc["model", "mae"] < 1e-3 * scale
    assert results.loc["model", "r_squared"] > 0.999
    assert results.loc["untrained", "mae"] > 0.02 * scale
    assert results.loc["model", "improvement_low"] > 90
    ranges = found.ranges.set_index(["contender", "range"])["mae"]
    assert ranges["model", "1"] < 1e-3 * scale < ranges["model", "0"]
    assert set(found.choices.loc[found.choices["contender"] == "model", "range"]) <= {
        "1",
        "01",
        "012",
    }
    assert "lower than untrained" in found.sentence


def test_noise_gives_nobody_skill(model, some):
    noise = np.random.default_rng(0).normal(size=40)
    found = run_probe(
        labeled(some, noise),
        "label",
        from_=model,
        descriptors=["wacsf", "sine_matrix", "orbital_field_matrix"],
        **QUIET,
    )
    results = found.results.set_index("contender")
    assert set(results.index) == {
        "model",
        "untrained",
        "composition",
        "wacsf",
        "sine_matrix",
        "orbital_field_matrix",
        "dummy",
    }
    assert (results["r_squared"] < 0.1).all()
    middle = np.abs(noise - np.median(noise)).mean()
    assert (results["mae"] > 0.9 * middle).all()


def test_everybody_predicts_every_crystal_once_in_the_same_folds(model, some):
    found = run_probe(some, "bulk_modulus", from_=model, repeats=2, folds=4, **QUIET)
    own = found.predictions.groupby("contender")
    folds = [part.sort_values(["seed", "id"])["fold"].tolist() for _, part in own]
    assert all(fold == folds[0] for fold in folds)
    for _, part in own:
        assert sorted(part.loc[part["seed"] == 1, "id"]) == sorted(some.ids)
    once, again = (
        part.set_index("id")["fold"] for _, part in own.get_group("model").groupby("seed")
    )
    assert once.to_dict() != again.to_dict()
    assert found.results["seeds"].tolist() == [2] * 4


def test_atoms_of_a_crystal_stay_together_and_unknown_ones_leave(model, some):
    moments = some.target("magmoms").values.double().clone()
    moments[::3] = torch.nan
    found = run_probe(
        labeled(some, moments, level="atom", unit="μB"), "label", from_=model, **QUIET
    )
    own = found.predictions[found.predictions["contender"] == "model"]
    assert len(own) == int(torch.isfinite(moments).sum())
    assert own.groupby("id")["fold"].nunique().max() == 1
    first = own.merge(
        pd.DataFrame(
            {
                "id": np.array(some.ids)[some.crystal_of_atom.numpy()],
                "atom": (
                    torch.arange(some.atom_total) - some.offsets[some.crystal_of_atom]
                ).numpy(),
                "expected": moments.numpy(),
            }
        )
    )
    np.testing.assert_allclose(first["truth"], first["expected"])
    row = found.results.set_index("contender").loc["model"]
    errors = (own["value"] - own["truth"]).abs()
    assert row["mae"] == pytest.approx(errors.groupby(own["id"]).mean().mean())
    assert row["mae_atoms"] == pytest.approx(errors.mean())
    assert crystal_errors(found.predictions, "model").shape == (1, own["id"].nunique())
    assert "element" in found.results["contender"].tolist()


def test_the_dummy_of_an_extensive_target_grows_with_the_cell(model, some):
    sizes = some.atom_counts.double()
    found = run_probe(labeled(some, 2.5 * sizes, extensive=True), "label", from_=model, **QUIET)
    own = found.predictions[found.predictions["contender"] == "dummy"]
    np.testing.assert_allclose(own["value"], own["truth"])


def test_networks_with_edges_are_read_joined_too(some):
    backbone = MEGNet(width=8, hidden=8, layers=1, radial=6, cutoff=3.0).eval()
    network = Model(backbone, (), nn.ModuleList(), Coverage.of(some))
    found = run_probe(some, "bulk_modulus", from_=network, untrained=False, **QUIET)
    assert "joined" in set(found.ranges["range"])
    assert "untrained" not in set(found.results["contender"])


def test_the_untrained_twin_has_other_weights_that_its_seed_decides(model):
    one, same, other = (untrained_twin(model.backbone, seed) for seed in (0, 0, 1))
    weights = [net.element_table.weight for net in (one, same, other, model.backbone)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])


def test_what_cannot_be_probed_is_named(model, some):
    read = Property(target="bulk_modulus").prepare(
        some, model.backbone.graph_builder(), torch.Generator()
    )
    knowing = Model(model.backbone, (read,), nn.ModuleList(), model.coverage)
    for arguments, complaint in (
        ((some, "bulk_modulos"), "Did you mean 'bulk_modulus'"),
        ((some[:3], "bulk_modulus"), "3 crystals cannot be split into 5 folds"),
        ((some, "forces"), r"'forces' has \(3,\) numbers per atom"),
    ):
        with pytest.raises(InputError, match=complaint):
            run_probe(*arguments, from_=model, **QUIET)
    infinite = np.arange(40.0)
    infinite[3] = np.inf
    atoms = np.arange(float(some.atom_total))
    for crystals, complaint in (
        (labeled(some, infinite), rf"'label' is infinite in '{some.ids[3]}'"),
        (labeled(some, np.full(40, 3.5)), r"'label' is 3\.5 in all 40 rows"),
        (labeled(some, atoms, level="atom", extensive=True), "is of atoms and declared extensive"),
    ):
        with pytest.raises(InputError, match=complaint):
            run_probe(crystals, "label", from_=model, **QUIET)
    with pytest.raises(InputError, match="repeats = 0 is too few"):
        run_probe(some, "bulk_modulus", from_=model, repeats=0, **QUIET)
    with pytest.raises(InputError, match="were trained on labels of 'bulk_modulus'"):
        run_probe(some, "bulk_modulus", from_=knowing, **QUIET)
    with pytest.raises(InputError, match="sine matrix is of whole crystals"):
        run_probe(some, "magmoms", from_=model, descriptors=["sine_matrix"], **QUIET)
    with pytest.raises(InputError, match="no learner 'forest'"):
        run_probe(some, "bulk_modulus", from_=model, learner="forest", **QUIET)


def test_elements_that_a_network_never_saw_are_noted(model, some):
    other = Model(model.backbone, (), nn.ModuleList(), Coverage.of(some[:1]))
    found = run_probe(some, "bulk_modulus", from_=other, learner=Ridge((1.0,)), **QUIET)
    assert any("never saw" in note for note in found.notes)


def test_the_command_line_writes_tables_figures_and_a_page(model, some, tmp_path, capsys):
    folder, out = save_model(model, tmp_path / "mine", some[:1]).folder, tmp_path / "probe"
    write_parquet(some, tmp_path / "some.parquet")
    arguments = (str(tmp_path / "some.parquet"), "bulk_modulus[GPa]", [str(folder)])
    cli.probe(*arguments, learner="ridge", folds=3, inner_folds=2, out=out)
    printed = capsys.readouterr().out
    for word in ("untrained", "composition", "dummy", "MAE of mine [GPa]", "chose, fold by fold"):
        assert word in printed
    for name in ("results", "ranges", "choices", "predictions", "maps"):
        assert len(pd.read_csv(out / f"{name}.csv"))
    for name in ("ranges", "parity", "map_pca", "map_t-sne"):
        assert (out / f"{name}.png").stat().st_size > 5000
    page = (out / "index.html").read_text()
    assert "What is known of bulk_modulus" in page
    assert page.count("data:image/png") == 4
    with pytest.raises(RunFolderError, match="holds another run"):
        cli.probe(*arguments, folds=4, out=out)
    with pytest.raises(InputError, match="the weights that are probed"):
        cli.probe(*arguments, out=folder)


@pytest.mark.parametrize("name", ["torchmd_et", "cgcnn", "megnet"])
def test_the_last_layer_is_what_embed_ends_with(name, some):
    """Whatever blocks stand beside it: edges and state, a last norm."""
    backbone = build("backbones", {"name": name, "preset": "small"}).eval()
    made = Model(backbone, (), nn.ModuleList(), Coverage.of(some))
    found = network_representation(backbone, some, "crystal", "mean")
    table = embed(made, some).drop(columns=["id", "flag"])
    np.testing.assert_allclose(found.rows(found.last_layer, slice(None)), table, atol=1e-5)
