"""Tables and figures of a probe, from tidy records."""

import numpy as np
import pandas as pd

from epitaxy.report.plots.maps import maps
from epitaxy.report.plots.ranges import ranges
from epitaxy.report.probe import range_tuning

ERRORS = {"0": 0.4, "1": 0.3, "2": 0.35, "01": 0.28, "012": 0.25, "last": 0.33, "chosen": 0.26}


def table() -> pd.DataFrame:
    rows = [
        {"contender": name, "range": one, "mae": error + 0.1 * place}
        for place, name in enumerate(("mine", "untrained"))
        for one, error in ERRORS.items()
    ]
    rows += [
        {"contender": name, "range": one, "mae": error}
        for name, error in (("wacsf", 0.5), ("dummy", 9.0))
        for one in ("all", "chosen")
    ]
    found = pd.DataFrame(rows)
    return found.assign(mae_low=found["mae"] - 0.01, mae_high=found["mae"] + 0.01, unit="eV")


def test_range_tuning_has_a_row_per_range_and_a_column_per_network():
    found = range_tuning(table(), "eV")
    assert found["range"].tolist() == [*ERRORS]
    assert found.columns[1:].tolist() == ["MAE of mine [eV]", "MAE of untrained [eV]"]
    np.testing.assert_allclose(found["MAE of mine [eV]"], [*ERRORS.values()])


def test_the_figure_draws_networks_and_lines_and_says_what_is_beyond():
    axes = ranges(table(), "band_gap", "eV").axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["mine", "untrained", "wacsf: 0.5", "dummy: 9, above"]
    assert [text.get_text() for text in axes.get_xticklabels()] == [*ERRORS]
    assert axes.get_ylabel() == "MAE of band gap [eV]"
    assert axes.get_ylim()[1] < 1.0


def test_maps_stand_side_by_side_by_family_and_by_target():
    points = pd.DataFrame(
        {
            "contender": np.repeat(["mine", "untrained"], 20),
            "method": "PCA",
            "x": np.arange(40.0),
            "y": np.arange(40.0) % 7,
            "family": np.tile(["halogens", "chalcogens"], 20),
            "truth": np.arange(40.0),
        }
    )
    figure = maps(points, "PCA", "band_gap", "eV")
    assert [axes.get_title() for axes in figure.axes[:2]] == ["mine, PCA", "untrained, PCA"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["halogens", "chalcogens"]
    assert len(figure.axes) == 5
