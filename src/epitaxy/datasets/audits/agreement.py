"""Whether labels follow from the structures that they stand beside.

Labels that were shuffled, moved by a row or joined to other crystals cannot be predicted from
them. A ridge regression on composition and density predicts most properties of crystals better
than chance, so its failure is evidence, of a stated power.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm, rankdata

from epitaxy.datasets.audits.facts import Facts, element_column
from epitaxy.datasets.audits.findings import Finding, examples

LARGEST_CHANCE = 3.1
"""Correlations with shuffled labels have a standard deviation of 1/√N and stay below 3.1/√N in 999
of 1000 shuffles: so likely is a shuffled column found."""
FEWEST = 60  # labels; 3.1/√60 = 0.4, which most properties surpass
SURE_FROM = 300  # labels; with fewer the regression may be too poor to blame the labels
_FOLDS = 5
_PRODUCTS_FROM = 500  # crystals; of fewer, 190 more features learn noise
_PENALTIES = 10.0 ** np.arange(-4, 3)
_WINDOW = 80  # rows; 3.1/√80 = 0.35
_PROPERTIES = (
    "group", "period", "electronegativity", "covalent_radius", "valence_electrons",
    "ionization_energy", "electron_affinity", "molar_volume",
)  # fmt: skip


def composition_features(facts: Facts) -> Float[np.ndarray, "crystals features"]:
    """Return fractions, means and deviations of element properties, products, density, vacuum."""
    table = np.stack([element_column(name) for name in _PROPERTIES], axis=1)
    table = (table - table[1:95].mean(0)) / table[1:95].std(0)
    mean = facts.fractions @ table
    deviation = np.sqrt(np.maximum(facts.fractions @ table**2 - mean**2, 0))
    volume = np.log(np.where(np.isnan(facts.volumes_per_atom), 15.0, facts.volumes_per_atom))
    packing = np.log(np.clip(np.where(np.isnan(facts.packing), 0.5, facts.packing), 1e-3, 10))
    plain = np.column_stack([mean, deviation, volume, packing, np.log(facts.atom_counts)])
    first, second = np.triu_indices(plain.shape[1])
    present = (facts.counts > 0).sum(0) >= 3
    others = np.column_stack([facts.bonding_contrast, facts.empty_layers.max(1)])
    simple = np.column_stack([facts.fractions[:, present], plain, others])
    if len(simple) < _PRODUCTS_FROM:
        return simple
    return np.column_stack([simple, plain[:, first] * plain[:, second]])


def cross_validated(
    design: Float[np.ndarray, "rows features"], values: Float[np.ndarray, " rows"], seed: int = 0
) -> Float[np.ndarray, " rows"]:
    """Return the prediction for each row by a ridge regression on the other four fifths.

    The penalty is the one of the smallest generalized cross-validation error on those.
    """
    fold = np.random.default_rng(seed).permutation(len(values)) % _FOLDS
    predicted = np.zeros(len(values))
    scale = design.std(0)
    used = design[:, scale > 1e-9] / scale[scale > 1e-9]
    for one in range(_FOLDS):
        train, test = fold != one, fold == one
        predicted[test] = _ridge(used[train], values[train], used[test])
    return predicted


def _ridge(
    design: Float[np.ndarray, "rows features"],
    values: Float[np.ndarray, " rows"],
    asked: Float[np.ndarray, "asked features"],
) -> Float[np.ndarray, " asked"]:
    center, mean = design.mean(0), values.mean()
    around, wanted = design - center, values - mean
    strength, directions = np.linalg.eigh(around.T @ around)
    strength = np.maximum(strength, 0)
    along = directions.T @ (around.T @ wanted)
    best, weights = np.inf, np.zeros(design.shape[1])
    for penalty in _PENALTIES * max(strength.mean(), 1e-12):
        kept = strength / (strength + penalty)
        coefficients = along / (strength + penalty)
        rest = wanted @ wanted - 2 * coefficients @ along + coefficients**2 @ strength
        freedom = max(len(values) - 1 - kept.sum(), 1.0)
        if rest / freedom**2 < best:
            best, weights = rest / freedom**2, directions @ coefficients
    return (asked - center) @ weights + mean


def normal_scores(values: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """Return values replaced by the normal quantiles of their ranks: no tail outweighs the rest."""
    return norm.ppf((rankdata(values) - 0.5) / len(values))


def correlation(one: Float[np.ndarray, " rows"], other: Float[np.ndarray, " rows"]) -> float:
    """Return Pearson's correlation; 0 where one of them is constant."""
    if one.std() < 1e-12 or other.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def agreement_findings(
    facts: Facts,
    name: str,
    values: Float[np.ndarray, " crystals"],
    features: Float[np.ndarray, "crystals features"],
    extensive: bool = False,
) -> tuple[list[Finding], str]:
    """Return findings on a column's agreement with the structures, and a line on the test's power.

    Extensive values come divided by the number of atoms N. That quotient follows from N even where
    the labels were shuffled, so crystals are compared with those of equal N only.

    Where it disagrees as a whole, or in a stretch of rows, the labels of one row above and below
    are tried too: a table that lost one cell fits again when moved.
    """
    rows = np.flatnonzero(np.isfinite(values))
    if len(rows) < FEWEST or len(np.unique(values[rows])) < 10:
        return [], f"{name}: {len(rows)} labels, too few (or too few different ones) to test."
    scores, design = normal_scores(values[rows]), features[rows]
    predicted, freedom = cross_validated(design, scores), len(rows)
    if extensive:
        scores, predicted, freedom = _within_sizes(facts.atom_counts[rows], scores, predicted)
        if freedom < FEWEST:
            return [], f"{name}: too few crystals of equal size to test."
    found, bound = correlation(predicted, scores), LARGEST_CHANCE / np.sqrt(freedom)
    power = (
        f"{name}: predicted from composition and density with r = {found:.2f}; shuffled labels "
        f"stay below {bound:.2f} in 99.9 % of cases, so a shuffled column would be found with "
        "that probability."
    )
    if found < bound:
        moved = 0 if extensive else _moved_by(design, scores, bound)
        hint = f" Moved by {moved:+d} rows they would fit." if moved else ""
        return [
            Finding(
                "error" if len(rows) >= SURE_FROM else "warning",
                "labels do not follow",
                f"{len(rows)} labels do not follow from their structures: r = {found:.2f}, no "
                f"more than chance ({bound:.2f}).{hint}",
                len(rows),
                "were rows or columns shuffled when the table was joined? If the labels are "
                "right, nothing simple predicts them.",
                name,
            )
        ], power
    findings = _stretches(facts, name, rows, scores, predicted, found)
    return findings, power


def _within_sizes(
    sizes: Float[np.ndarray, " rows"],
    scores: Float[np.ndarray, " rows"],
    predicted: Float[np.ndarray, " rows"],
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"], int]:
    """Return both columns less their means over crystals of equal size, and what is left free."""
    _, group, members = np.unique(sizes, return_inverse=True, return_counts=True)

    def around(values: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
        return values - (np.bincount(group, values) / members)[group]

    return around(scores), around(predicted), int((members - 1).sum())


def _moved_by(
    design: Float[np.ndarray, "rows features"], scores: Float[np.ndarray, " rows"], bound: float
) -> int:
    """Return by how many rows the labels must be moved down to fit; 0 where none of ±1 helps."""
    for step in (1, -1):
        moved = np.roll(scores, step)
        if correlation(cross_validated(design, moved), moved) > max(2 * bound, 0.2):
            return step
    return 0


def _stretches(
    facts: Facts,
    name: str,
    rows: Int[np.ndarray, " present"],
    scores: Float[np.ndarray, " present"],
    predicted: Float[np.ndarray, " present"],
    overall: float,
) -> list[Finding]:
    """Find consecutive rows whose labels do not fit, while those of the others do.

    A stretch counts if its correlation is no more than chance, where that of the others would have
    been found nearly surely, and its crystals are as varied as the others: a file that is sorted
    has stretches of similar crystals in which there is little to predict.
    """
    size = max(_WINDOW, len(rows) // 20)
    if len(rows) < 4 * size or overall < 0.2:
        return []
    starts = range(0, len(rows) - size + 1, size // 2)
    windows = [np.arange(start, start + size) for start in starts]
    found = np.array([correlation(predicted[one], scores[one]) for one in windows])
    sound = np.unique(
        np.concatenate([windows[k] for k in np.flatnonzero(found >= np.median(found))])
    )
    strange = [
        window
        for window, own in zip(windows, found, strict=True)
        if own < LARGEST_CHANCE / np.sqrt(size)
        and _is_varied_and_expected(scores, predicted, window, sound)
    ]
    if not strange:
        return []
    inside = np.unique(np.concatenate(strange))
    first, last = rows[inside[0]], rows[inside[-1]]
    hint = ""
    for step in (1, -1):
        if correlation(predicted[inside], np.roll(scores[inside], step)) > 0.5 * overall:
            hint = f" Moved by {step:+d} rows they would fit."
    ids = facts.crystals.ids
    return [
        Finding(
            "error",
            "labels do not follow",
            f"{len(inside)} labels between '{ids[first]}' and '{ids[last]}' do not follow from "
            f"their structures, while those of the other rows do (r = {overall:.2f}).{hint}",
            len(inside),
            "look at these rows: were they joined in another order?",
            name,
            examples(facts.crystals, rows[inside]),
        )
    ]


def _is_varied_and_expected(
    scores: Float[np.ndarray, " present"],
    predicted: Float[np.ndarray, " present"],
    window: Int[np.ndarray, " window"],
    sound: Int[np.ndarray, " sound"],
) -> bool:
    """Return whether a window is as varied as the sound rows, whose agreement it would show."""
    others = np.setdiff1d(sound, window)
    expected = correlation(predicted[others], scores[others])
    error = 1 / np.sqrt(len(window))
    varied = predicted[window].std() > 0.7 * predicted[others].std()
    return bool(varied and expected - 4 * (1 - expected**2) * error > LARGEST_CHANCE * error)
