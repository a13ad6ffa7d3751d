"""Looks a data set through before anything is trained on it.

Units and signs against physics, duplicates and leaks, outliers and missing values, structures that
are unlike the others, and labels that do not belong to their structures.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from epitaxy.crystals.crystals import Crystals
from epitaxy.datasets.audits.coverage import coverage_findings
from epitaxy.datasets.audits.duplicates import duplicate_findings
from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.findings import Audit, sorted_findings
from epitaxy.datasets.audits.geometry import geometry_findings
from epitaxy.datasets.audits.labels import label_findings
from epitaxy.datasets.audits.units import unit_findings
from epitaxy.datasets.bundled import bundled
from epitaxy.datasets.read_report import ReadReport
from epitaxy.datasets.readers import Source, read_with_report
from epitaxy.units import parse_target


def audit(
    crystals: Source,
    target: Sequence[str] | str | None = None,
    test: Source | None = None,
    pretraining: Source | None = None,
    *,
    extensive: Sequence[str] | bool = (),
) -> Audit:
    """Return what is suspicious about crystals and their labels.

    Nothing is changed, nothing is trained, and chance plays no part: the same data give the same
    findings.

    Args:
        crystals: the data to learn from, in any form that ``read_crystals`` reads, or
            ``"bundled"``.
        target: the columns to look at, each with its unit if wished (``"band_gap[eV]"``); by
            default all of them. The others still serve to find exchanged columns.
        test: crystals to test on, searched for copies of those to learn from.
        pretraining: crystals of a pre-training, searched for copies of the test crystals, or of
            the data where no test crystals are given.
        extensive: targets that grow with the size of the cell, as for ``read_crystals``.

    Raises InputError for a source that cannot be read and for a target that is not there.
    """
    data, report = _read(crystals, target, extensive)
    wanted = _wanted_names(data, target)
    facts = Facts(data)
    tested = None if test is None else _read(test, target, extensive, partly=True)[0]
    earlier = None if pretraining is None else _read(pretraining, target, extensive, partly=True)[0]
    findings, powers = label_findings(facts, wanted)
    findings += duplicate_findings(_only(data, wanted), tested, earlier)
    findings += geometry_findings(facts, report)
    if tested is not None:
        findings += coverage_findings(facts, Facts(tested))
        shared = wanted & set(tested.targets)
        findings += [
            replace(one, what=f"in the test data, {one.what}")
            for one in unit_findings(Facts(tested), shared)
        ]
    return Audit(report.source, len(data), sorted_findings(findings), tuple(powers))


def _read(
    source: Source,
    target: Sequence[str] | str | None,
    extensive: Sequence[str] | bool,
    partly: bool = False,
) -> tuple[Crystals, ReadReport]:
    """Read all columns of a source, and take the units that the caller states for some.

    Partly: what is stated of columns that this source does not have is passed over.
    """
    if isinstance(source, str) and source == "bundled" and not Path(source).exists():
        source = bundled()
    crystals, report = read_with_report(source, extensive=extensive)
    crystals = crystals.to("cpu")
    stated = [parse_target(text) for text in _as_list(target)]
    targets = dict(crystals.targets)
    for name, unit in stated:
        if partly and name not in targets:
            continue
        found = crystals.target(name)
        if unit is not None and unit != found.unit:
            undeclared = found.unit in ("", "1")
            targets[name] = replace(found, unit=unit) if undeclared else found.converted(unit)
    return crystals.with_targets(targets), report


def _as_list(target: Sequence[str] | str | None) -> list[str]:
    if target is None:
        return []
    return [target] if isinstance(target, str) else list(target)


def _wanted_names(data: Crystals, target: Sequence[str] | str | None) -> set[str]:
    return {parse_target(text)[0] for text in _as_list(target)} or set(data.targets)


def _only(data: Crystals, wanted: set[str]) -> Crystals:
    return data.with_targets({n: t for n, t in data.targets.items() if n in wanted})
