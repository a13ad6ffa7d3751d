"""Figures hold the records they were given."""

import subprocess
import sys
import xml.etree.ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection

from epitaxy.errors import InputError
from epitaxy.evaluation.summary import summarize
from epitaxy.report.plots.errors import errors
from epitaxy.report.plots.learning_curves import learning_curves
from epitaxy.report.plots.parity import parity
from epitaxy.report.plots.style import colors, save


def simulated_predictions(crystals=30, seeds=3, contenders=("scratch", "pre-trained")):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=crystals)
    frames = [
        pd.DataFrame(
            {
                "contender": name,
                "seed": seed,
                "id": [f"crystal-{number}" for number in range(crystals)],
                "formula": "NaCl",
                "target": "band_gap",
                "unit": "eV",
                "truth": truth,
                "value": truth + 0.1 * rng.normal(size=crystals),
            }
        )
        for name in contenders
        for seed in range(seeds)
    ]
    return pd.concat(frames, ignore_index=True)


def simulated_curves(seeds=3, epochs=5, falls_to=0.01):
    rows = [
        (contender, seed, epoch, split, "loss", falls_to ** (epoch / (epochs - 1)) + 0.1 * seed)
        for contender in ("scratch", "pre-trained")
        for seed in range(seeds)
        for epoch in range(epochs)
        for split in ("train", "validation")
    ]
    return pd.DataFrame(rows, columns=["contender", "seed", "epoch", "split", "metric", "value"])


def test_parity_shows_every_prediction_once():
    predictions = simulated_predictions()
    figure = parity(predictions)
    for axes, name in zip(figure.axes, ("scratch", "pre-trained"), strict=True):
        own = predictions[predictions["contender"] == name]
        drawn = np.asarray(axes.collections[0].get_offsets())
        assert np.array_equal(drawn, own[["truth", "value"]].to_numpy())


def test_parity_titles_give_the_mae_and_labels_the_unit():
    predictions = simulated_predictions()
    axes = parity(predictions).axes[0]
    own = predictions[predictions["contender"] == "scratch"]
    mae = (own["value"] - own["truth"]).abs().mean()
    assert axes.get_title() == f"scratch\nMAE {mae:.3g} eV · 3 seeds"
    assert axes.get_xlabel() == "true band gap [eV]"


def test_parity_panels_share_limits_that_hold_everything():
    predictions = simulated_predictions()
    panels = parity(predictions).axes
    limits = {(*axes.get_xlim(), *axes.get_ylim()) for axes in panels}
    assert len(limits) == 1
    low, high, *_ = limits.pop()
    values = predictions[["truth", "value"]].to_numpy()
    assert low < values.min()
    assert values.max() < high


def test_ten_thousand_points_become_hexagons_that_count_them_all():
    figure = parity(simulated_predictions(crystals=10_000, seeds=1, contenders=("scratch",)))
    (hexagons,) = figure.axes[0].collections
    assert isinstance(hexagons, PolyCollection)
    assert hexagons.get_array().sum() == 10_000


def test_parity_leaves_out_unknown_truths():
    predictions = simulated_predictions()
    predictions.loc[predictions["id"] == "crystal-0", "truth"] = np.nan
    assert len(parity(predictions).axes[0].collections[0].get_offsets()) == 29 * 3


def test_parity_of_two_targets_is_refused():
    predictions = simulated_predictions()
    both = pd.concat([predictions, predictions.assign(target="energy")])
    with pytest.raises(InputError, match="2 targets"):
        parity(both)


def test_learning_curves_draw_the_median_and_the_range_over_seeds():
    curves = simulated_curves()
    (axes,) = learning_curves(curves).axes
    assert len(axes.lines) == 4
    assert len(axes.collections) == 2
    shown = curves[(curves["contender"] == "scratch") & (curves["split"] == "validation")]
    line = next(line for line in axes.lines if line.get_label() == "scratch, validation")
    assert np.allclose(line.get_ydata(), shown.groupby("epoch")["value"].median())
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (shown["value"].min(), shown["value"].max())


def test_validation_is_bolder_than_training():
    (axes,) = learning_curves(simulated_curves()).axes
    widths = {line.get_label(): line.get_linewidth() for line in axes.lines}
    assert widths["scratch, validation"] > 1.5 * widths["scratch, train"]


@pytest.mark.parametrize(("falls_to", "scale"), [(0.001, "log"), (0.5, "linear")])
def test_the_axis_is_logarithmic_where_values_span_a_decade(falls_to, scale):
    (axes,) = learning_curves(simulated_curves(seeds=1, falls_to=falls_to)).axes
    assert axes.get_yscale() == scale


def test_each_metric_gets_a_panel():
    loss = simulated_curves()
    figure = learning_curves(pd.concat([loss, loss.assign(metric="mae")]))
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "MAE"]


def test_errors_show_the_interval_and_each_seed():
    predictions = simulated_predictions()
    results = summarize(predictions)
    (axes,) = errors(predictions, results).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["scratch", "pre-trained"]
    for row, bar in enumerate(axes.lines):
        assert list(bar.get_xdata()) == list(results.loc[row, ["mae_low", "mae_high"]])
    assert [len(points.get_offsets()) for points in axes.collections] == [3, 1, 3, 1]
    assert axes.get_xlim()[0] == 0.0


def test_a_contender_has_one_color_in_every_figure():
    assert colors(["scratch"])["scratch"] == colors(["dummy", "forest", "scratch"])["scratch"]
    several = colors(["scratch", "pre-trained", "forest", "ridge"])
    assert len({several[name] for name in ("scratch", "pre-trained", "forest", "ridge")}) == 4


def test_names_with_dollar_signs_are_drawn_as_they_are(tmp_path):
    predictions = simulated_predictions(contenders=("a $x", "b $\\frac$"))
    predictions["target"] = "$\\oops$"
    save(parity(predictions), tmp_path / "parity")
    save(errors(predictions, summarize(predictions, reference=None)), tmp_path / "errors")


def test_saving_writes_a_png_and_an_svg(tmp_path):
    png, svg = save(parity(simulated_predictions()), tmp_path / "figures" / "parity.v1")
    assert (png.name, svg.name) == ("parity.v1.png", "parity.v1.svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert xml.etree.ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_drawing_leaves_the_global_settings_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    predictions = simulated_predictions()
    save(errors(predictions, summarize(predictions)), tmp_path / "errors")
    save(learning_curves(simulated_curves()), tmp_path / "curves")
    assert dict(matplotlib.rcParams) == before


def test_the_report_imports_neither_torch_nor_pyplot():
    modules = (
        "epitaxy.report.html, epitaxy.report.console, epitaxy.report.plots.parity, "
        "epitaxy.report.plots.errors, epitaxy.report.plots.learning_curves"
    )
    program = f"import sys, {modules}; print({{'torch', 'matplotlib.pyplot'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
