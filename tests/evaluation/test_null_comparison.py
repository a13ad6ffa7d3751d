"""One checkpoint against itself, fine-tuned with other seeds: there is nothing to be found."""

import pandas as pd
import pytest

import epitaxy as ep
from epitaxy.datasets.bundled import bundled
from epitaxy.evaluation.comparison_baselines import prediction_records
from epitaxy.evaluation.configurations import wins_over_configurations
from epitaxy.evaluation.protocol import make_protocol
from epitaxy.evaluation.statistics import verdict
from epitaxy.evaluation.summary import compare_contenders
from epitaxy.training.finetune import finetune_recipe, with_target_only
from epitaxy.training.predict import predict_values
from epitaxy.training.recipe import load_recipe
from epitaxy.training.train import train

SHORT = {"training.batch_size": 16, "training.epochs": 3}
TINY = {"name": "torchmd_et", "width": 16, "layers": 1, "heads": 2, "cutoff": 3.5}
TARGET = "bulk_modulus"


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    """Return test predictions of six fine-tunings, three called one thing and three another."""
    crystals, _ = with_target_only(bundled()[:140], TARGET)
    out = tmp_path_factory.mktemp("run") / "pretrained"
    run = ep.pretrain(
        "fingerprint", data=crystals, backbone=TINY, changes=SHORT, out=out, progress=False
    )
    protocol = make_protocol(len(crystals), seeds=6, train_size=40, test_size=80)
    base = finetune_recipe(load_recipe("finetune"), TARGET, run.model, SHORT)
    frames = []
    for seed, split in protocol.seeds.items():
        recipe = base.altered({"seed": seed, "training.learning_rate": 3e-3})
        parts = crystals[list(split.train)], crystals[list(split.validation)]
        trained = train(recipe, *parts, run.model)
        test = crystals[list(protocol.test)].with_targets({})
        values = predict_values(trained.model, test)[TARGET][0].double().tolist()
        name = "some seeds" if seed < 3 else "other seeds"
        frames.append(prediction_records(crystals, TARGET, protocol.test, name, seed % 3, values))
    return pd.concat(frames, ignore_index=True)


def test_the_fits_differ_but_not_the_contenders(predictions):
    assert predictions.groupby(["contender", "seed"])["value"].sum().nunique() == 6
    found = compare_contenders(predictions, "some seeds", "other seeds")
    assert found.low < 0.0 < found.high
    sentence = verdict(found, "some seeds", "other seeds", "GPa", 40)
    assert sentence.startswith("No evidence either way")


def test_more_wins_than_chance_are_not_found(predictions):
    parts = predictions["id"].rank(method="dense").astype(int) % 5
    found = wins_over_configurations(
        predictions.assign(task=parts.map("part {}".format)), "some seeds", "other seeds"
    )
    assert found.configurations == 5
    assert "no evidence that either wins more often" in found.sentence
