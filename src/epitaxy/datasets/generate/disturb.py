"""What is done to a finished crystal: strain, rattling, vacancies."""

import random
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from epitaxy.datasets.generate.candidates import Candidate, numbers_of

_STRAIN = 0.02  # standard deviation of each component
_RATTLE = (0.02, 0.12)  # Å, between which the standard deviation is drawn
_SCATTER = 0.01  # of the lengths of all crystals: no two volumes are alike
_ROOM_FOR_HOLES = 12  # atoms


@runtime_checkable
class Probabilities(Protocol):
    """How often a crystal is strained and rattled, and loses atoms."""

    @property
    def strain(self) -> float:
        """Of strain."""

    @property
    def rattle(self) -> float:
        """Of rattling."""

    @property
    def vacancies(self) -> float:
        """Of vacancies, where there is room."""


def disturbed(
    how: Probabilities,
    candidate: Candidate,
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    chance: random.Random,
) -> tuple[Int[np.ndarray, " left"], Float[np.ndarray, "left 3"], Float[np.ndarray, "3 3"]]:
    """Return numbers, positions and cell after what chance does to them."""
    deformed = np.eye(3) * (1 + _SCATTER * chance.gauss(0, 1))
    if chance.random() < how.strain:
        raw = np.array([chance.gauss(0, _STRAIN) for _ in range(9)]).reshape(3, 3)
        deformed = deformed + (raw + raw.T) / 2
    positions, cell = positions @ deformed, cell @ deformed
    if chance.random() < how.rattle:
        width = chance.uniform(*_RATTLE)
        noise = [chance.gauss(0, width) for _ in range(positions.size)]
        positions = positions + np.array(noise).reshape(positions.shape)
    numbers = numbers_of(candidate)
    if len(numbers) >= _ROOM_FOR_HOLES and chance.random() < how.vacancies:
        gone = _neutral_group(candidate, chance)
        keep = np.ones(len(numbers), dtype=bool)
        keep[gone] = False
        numbers, positions = numbers[keep], positions[keep]
    return numbers, positions, cell


def _neutral_group(candidate: Candidate, chance: random.Random) -> list[int]:
    """Return atoms that can go together: one of a metal; of a salt, ions whose charges cancel."""
    charges = [one.charge for one in candidate.species]
    first = chance.randrange(len(charges))
    gone, left = [first], charges[first]
    others = list(range(len(charges)))
    chance.shuffle(others)
    for other in others:
        if other not in gone and left * charges[other] < 0 and abs(charges[other]) <= abs(left):
            gone.append(other)
            left += charges[other]
    return gone if left == 0 and len(gone) < len(charges) // 2 else []
