"""The sine matrix, a fingerprint of whole crystals to compare with."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from epitaxy.crystals.crystals import Crystals
from epitaxy.errors import InputError


def sine_spectra(crystals: Crystals) -> Float[ndarray, "crystals width"]:
    """Return the eigenvalues of every crystal's sine matrix, largest magnitude first, then zeros.

    As wide as the largest crystal has atoms. Raises InputError where a crystal is not periodic in
    three directions.
    """
    if not bool(crystals.pbc.all()):
        place = int((~crystals.pbc.all(1)).nonzero()[0])
        raise InputError(
            f"crystal '{crystals.ids[place]}' is not periodic in three directions: it has no sine "
            "matrix."
        )
    positions, cells = crystals.positions.double().numpy(), crystals.cell.double().numpy()
    numbers = crystals.numbers.numpy()
    spectra = np.zeros((len(crystals), int(crystals.atom_counts.max())))
    for place, (first, last) in enumerate(pairwise(crystals.offsets.tolist())):
        matrix = sine_matrix(numbers[first:last], positions[first:last], cells[place])
        values = np.linalg.eigvalsh(matrix)
        spectra[place, : last - first] = values[np.argsort(-np.abs(values), kind="stable")]
    return spectra


def sine_matrix(
    numbers: Int[ndarray, " atoms"],
    positions: Float[ndarray, "atoms 3"],
    cell: Float[ndarray, "3 3"],
) -> Float[ndarray, "atoms atoms"]:
    """Return M_ii = ½ Z_i^2.4, M_ij = Z_i Z_j / |Σ_k a_k sin²(π f_k)| in Å⁻¹.

    a_k are the lattice vectors and f_k the fractional coordinates of r_i − r_j (Faber, Lindmaa,
    von Lilienfeld and Armiento, Int. J. Quantum Chem. 115, 1094, equation 7).
    """
    fractional = (positions[:, None] - positions) @ np.linalg.inv(cell)
    lengths = np.linalg.norm(np.sin(np.pi * fractional) ** 2 @ cell, axis=-1)
    charges = numbers.astype(np.float64)
    np.fill_diagonal(lengths, 1.0)
    matrix = np.outer(charges, charges) / lengths
    np.fill_diagonal(matrix, 0.5 * charges**2.4)
    return matrix
