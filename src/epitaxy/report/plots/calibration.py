"""The spread over seeds against the errors, and the coverage of intervals made from it."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from epitaxy.report.calibration import Calibration
from epitaxy.report.plots.style import QUIET, colors, drawing


def calibrations(found: Mapping[str, Calibration], unit: str = "") -> Figure:
    """Draw both sides of the calibration; a perfect one is on the dashed line."""
    color = colors(found)
    bracketed = f" [{unit}]" if unit else ""
    with drawing(2, width=4.2, height=3.8) as (left, right):
        every = [v for one in found.values() for v in (*one.bins["spread"], *one.bins["rmse"])]
        limits = min(every) / 1.3, max(every) * 1.3
        left.plot(limits, limits, color=QUIET, linewidth=0.9, dashes=(4, 3))
        right.plot((0, 100), (0, 100), color=QUIET, linewidth=0.9, dashes=(4, 3))
        for name, one in found.items():
            bins, share = one.bins, 100.0 * one.coverage
            bars = [bins["rmse"] - bins["rmse_low"], bins["rmse_high"] - bins["rmse"]]
            left.errorbar(
                bins["spread"], bins["rmse"], yerr=bars, color=color[name], marker="o",
                markersize=4, linewidth=1.4, elinewidth=1.0, label=name,
            )  # fmt: skip
            right.plot(share["expected"], share["observed"], color=color[name], marker="o",
                       markersize=4, linewidth=1.4, label=name)  # fmt: skip
            right.fill_between(share["expected"], share["observed_low"], share["observed_high"],
                               color=color[name], alpha=0.16, linewidth=0)  # fmt: skip
        left.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
        left.set_xlabel(f"spread over seeds{bracketed}")
        left.set_ylabel(f"RMSE{bracketed}")
        right.set(xlim=(0, 100), ylim=(0, 100))
        right.set_xlabel("meant to be covered [%]")
        right.set_ylabel("covered [%]")
        right.legend(loc="upper left")
    return left.get_figure(root=True)  # type: ignore[return-value]
