"""Charts show their records where the axes say, and embed text that cannot break out."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from epitaxy.report.charts.elements import elements
from epitaxy.report.charts.frame import Axis, embedded, looks
from epitaxy.report.charts.lines import by_epoch, by_size, forest
from epitaxy.report.charts.maps import maps
from epitaxy.report.charts.parity import parity
from epitaxy.report.residuals import by_element


@pytest.mark.parametrize(
    ("low", "high", "log"),
    [(0, 1, False), (-3.2e-4, 7e-4, False), (95, 1000, True), (0.03, 0.05, True), (1, 1e6, True)],
)
def test_ticks_lie_on_the_axis_and_are_few(low, high, log):
    ticks = Axis(low, high, 0, 100, log).ticks()
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-12 <= tick <= high * (1 + 1e-9) for tick in ticks)
    assert ticks == sorted(ticks)


def test_an_axis_maps_its_ends_to_its_ends():
    assert list(Axis(1, 100, 10, 50, log=True)([1, 10, 100])) == [10, 30, 50]
    assert list(Axis(0, 4, 100, 0)([0, 1, 4])) == [100, 75, 0]


def test_json_cannot_end_its_element():
    attack = "</script><script>alert(1)</script><!-- & \u2028"
    text = embedded({"id": attack})
    assert "<" not in text
    assert "&" not in text
    assert json.loads(text) == {"id": attack}


def test_no_two_of_twenty_four_contenders_look_alike():
    found = looks([str(one) for one in range(24)])
    assert len({(one.color, one.marker) for one in found.values()}) == 24


def crystals(count=50, shift=0.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=count)
    return pd.DataFrame(
        {
            "id": [f"id-{one}" for one in range(count)],
            "formula": "NaCl",
            "truth": truth,
            "value": truth + shift,
            "spread": 0.1,
            "seeds": 3,
            "error": abs(shift),
            "residual": shift,
        }
    )


def dots(svg: str, part: str) -> np.ndarray:
    outline = re.search(rf'd="([^"]*)" class="[^"]*" data-part="{part}"', svg).group(1)
    return np.array(re.findall(r"M([-\d.]+) ([-\d.]+)", outline), dtype=float)


def test_parity_draws_every_crystal_at_its_place():
    table = crystals()
    (chart,) = parity("p", {"a": table}, ["a"], "gap", "eV", looks(["a"]))
    shared = chart.data["shared"]
    low, high, start, end = shared["x"]
    drawn = dots(chart.svg, "dots")
    assert len(drawn) == 50
    expected = start + (table["truth"] - low) / (high - low) * (end - start)
    assert np.allclose(drawn[:, 0], expected, atol=0.06)
    assert np.allclose(drawn[:, 0] - start, shared["y"][2] - drawn[:, 1], atol=0.11)  # identity
    assert len(dots(chart.svg, "bars")) == 50
    assert "predicted gap [eV]" in chart.svg


def test_parity_thins_out_a_thousand_crystals_and_says_so():
    charts = parity("p", {"a": crystals(3000)}, ["a"], "gap", "eV", looks(["a"]), most=1000)
    assert len(dots(charts[0].svg, "dots")) == 1000
    assert "1,000 of 3,000 crystals are drawn" in charts[0].caption


def test_parity_shows_the_same_crystals_for_all_contenders():
    held = {"a": crystals(60), "b": crystals(60, 0.5).iloc[10:]}
    charts = parity("p", held, ["a", "b"], "gap", "eV", looks(["a", "b"]))
    assert charts[1].data["from"] == "p"
    values = charts[0].data["shared"]["contenders"]["b"]["value"]
    assert values[:10] == [None] * 10
    assert None not in values[10:]
    assert len(dots(charts[1].svg, "dots")) == 50


def results() -> pd.DataFrame:
    rows = [
        (name, size, mae * 10 / size**0.5)
        for name, mae in (("scratch", 1.0), ("ours", 0.8), ("dummy", 9.0))
        for size in (100, 400)
    ]
    table = pd.DataFrame(rows, columns=["contender", "size", "mae"])
    return table.assign(mae_low=table["mae"] * 0.9, mae_high=table["mae"] * 1.1)


def test_a_far_baseline_is_told_and_not_drawn():
    look = looks(["scratch", "ours", "dummy"])
    chart = by_size("s", results(), "eV", look, {"dummy": "baseline"})
    assert "dummy (4.5)" in chart.caption
    assert len(chart.data["x"]) == 4
    assert "MAE [eV]" in chart.svg
    last = results()[results()["size"] == 400]
    chart = forest("f", last, "eV", look, {"dummy": "baseline"})
    assert "4.5, beyond" in chart.svg
    assert len(chart.data["x"]) == 2


def test_points_of_a_chart_say_error_and_interval():
    look = looks(["scratch", "ours"])
    near = results()[results()["contender"] != "dummy"]
    told = by_size("s", near, "eV", look, {}).data["text"]
    assert "ours\nMAE 0.8 eV (0.72 to 0.88)\n100 training crystals" in told


def test_curves_are_medians_over_seeds():
    rows = [
        ("a", seed, epoch, split, "mae", value * epoch, "eV")
        for seed, value in enumerate((1.0, 2.0, 9.0))
        for epoch in (1, 2)
        for split in ("train", "validation")
    ]
    columns = ["contender", "seed", "epoch", "split", "metric", "value", "unit"]
    chart = by_epoch("e", pd.DataFrame(rows, columns=columns), looks(["a"]), {})
    assert chart.data["text"][0].startswith("a\nepoch 1, validation: 2 eV")
    assert chart.svg.count('class="thin') == 1


def test_the_periodic_table_tells_counts_and_outlines_rare_elements():
    table = crystals(20, 0.5).assign(formula=["NaCl"] * 18 + ["KCl"] * 2)
    chart = elements("e", by_element(table), "ours", "eV")
    cells = dict(re.findall(r'data-tip="(\w+): ([^"]*)"', chart.svg))
    assert cells["Na"].startswith("18 test crystals\nMAE 0.5 eV")
    assert chart.svg.count('class="cell few"') == 1
    assert len(re.findall(r'class="symbol ', chart.svg)) == 103


def points(count=40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    tables = [
        pd.DataFrame(
            {
                "pretraining": name,
                "task": "gap",
                "id": [f"id-{one}" for one in range(count)],
                "formula": "NaCl",
                "method": method,
                "x": rng.normal(size=count),
                "y": rng.normal(size=count),
                "value": np.arange(count, dtype=float),
                "density": np.nan,
                "element": ["Na", "Cl"] * (count // 2),
            }
        )
        for name in ("mine", "untrained")
        for method in ("tsne", "pca")
    ]
    return pd.concat(tables, ignore_index=True)


def test_maps_stand_side_by_side_with_what_there_is_to_color_by():
    charts = maps("m", points(), "gap", "eV", most=30)
    assert [chart.title for chart in charts] == ["mine", "untrained"]
    method, color = charts[0].controls
    assert method["options"] == ["pca", "tsne"]
    assert color["names"] == ["gap [eV]", "commonest element"]  # no density is known
    assert "30 of 40 crystals" in charts[0].caption
    shared = charts[0].data["shared"]
    assert len(shared["ids"]) == 30
    assert set(shared["panels"]) == {
        f"{name}\n{one}" for name in ("mine", "untrained") for one in ("pca", "tsne")
    }
    drawn = sum(len(re.findall("M[^M]*h0", d)) for d in re.findall(r' d="([^"]*)"', charts[0].svg))
    assert drawn == 30


def test_colors_of_a_map_are_eighths_of_the_crystals():
    codes = maps("m", points(), "gap", "eV", most=40)[0].data["shared"]["codes"]["value"]
    assert pd.Series(list(codes)).value_counts().tolist() == [5] * 8
