"""The stream itself: crystal i of a seed, whichever process makes it, and in whatever batch."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.datasets.generate.candidates import (
    Candidate,
    decorated,
    doubled,
    exchanged,
    fitting,
    numbers_of,
)
from epitaxy.datasets.generate.disturb import disturbed
from epitaxy.datasets.generate.prototypes import prototypes
from epitaxy.datasets.generate.random_crystals import random_crystal
from epitaxy.datasets.generate.settle import Candidates, Settled, settle
from epitaxy.errors import InputError

_ATTEMPTS = 24
_SAME_PROTOTYPE = 6  # attempts before another prototype is tried
# Misfits that no further round of relaxation mends: of prototypes, of random crystals.
_ROUNDS = {False: (1.5,), True: (np.inf, 1.2)}
_LENIENT = 0.25  # share of the crystals of which twice the misfit is accepted
# Of the volume that the species' spheres suggest: of salts, metals, covalent elements.
_VOLUMES = {"+": (0.6, 1.5), "m": (0.6, 1.5), "c": (1.2, 5.0)}
_AT_ONCE = 192  # crystals; more fill the processor's cache
_SAFE = ("fcc", "bcc", "hcp")


@dataclass(frozen=True)
class CrystalStream:
    """Makes crystals without any data: crystal i is a function of the seed and i alone.

    Attributes:
        seed: another one, another stream.
        max_atoms: in a cell.
        random_share: share of random crystals; the others are decorated prototypes.
        exchange: probability that some atoms are exchanged for others like them.
        strain, rattle, vacancies, supercells: probabilities of what is done to a finished crystal.
        misfit: what |ln(sum of bonds / what it ought to be)| no atom may exceed, in salts;
            one and a half times as much in metals.
    """

    seed: int = 0
    max_atoms: int = 40
    random_share: float = 0.15
    exchange: float = 0.25
    strain: float = 0.05
    rattle: float = 0.05
    vacancies: float = 0.02
    supercells: float = 0.03
    misfit: float = 0.45

    def __post_init__(self) -> None:
        if self.max_atoms < 1:
            raise InputError(f"max_atoms is at least 1, not {self.max_atoms}.")
        for name in ("random_share", "exchange", "strain", "rattle", "vacancies", "supercells"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} lies between 0 and 1, not at {getattr(self, name)}.")
        if self.misfit < 0.1:
            raise InputError(f"misfit is at least 0.1, not {self.misfit}: hardly anything fits so.")

    def crystals(self, indices: Sequence[int]) -> Crystals:
        """Return the crystals of these places in the stream."""
        chosen = list(indices)
        parts = [
            self._batch(chosen[first : first + _AT_ONCE])
            for first in range(0, len(chosen), _AT_ONCE)
        ]
        return cat(parts)

    def batches(self, count: int, first: int = 0, size: int = 1024) -> Iterator[Crystals]:
        """Yield ``count`` crystals from place ``first`` on, so many at a time."""
        for start in range(first, first + count, size):
            yield self.crystals(range(start, min(start + size, first + count)))

    def _batch(self, indices: Sequence[int]) -> Crystals:
        done: dict[int, tuple[Candidate, np.ndarray, np.ndarray]] = {}
        waiting = dict.fromkeys(indices, 0)
        while waiting:
            for is_random in (False, True):
                tried = []
                for index, attempt in list(waiting.items()):
                    if self._is_random(index) != is_random:
                        continue
                    candidate, attempt = self._candidate(index, attempt)
                    waiting[index] = attempt + 1
                    tried.append((index, candidate, attempt))
                for index, candidate, positions, cell in self._accepted(tried, _ROUNDS[is_random]):
                    done[index] = (candidate, positions, cell)
                    del waiting[index]
        return self._assembled(indices, done)

    def _chance(self, index: int, what: object) -> random.Random:
        return random.Random(f"{self.seed}/{index}/{what}")

    def _is_random(self, index: int) -> bool:
        return self._chance(index, "kind").random() < self.random_share

    def _candidate(self, index: int, attempt: int) -> tuple[Candidate, int]:
        """Return the next candidate that could be put together, and which attempt it was."""
        while attempt < _ATTEMPTS:
            chance = self._chance(index, attempt)
            if self._is_random(index):
                found = random_crystal(self.max_atoms, chance)
            else:
                which = self._chance(index, f"prototype {attempt // _SAME_PROTOTYPE}")
                known, often = fitting(self.max_atoms)
                (prototype,) = which.choices(known, often)
                found = decorated(prototype, chance)
            if found is not None:
                if chance.random() < self.exchange:
                    found = exchanged(found, self.max_atoms, chance)
                if 2 * len(found.species) <= self.max_atoms and chance.random() < self.supercells:
                    found = doubled(found, chance.randrange(3))
                return found, attempt
            attempt += 1
        chance = self._chance(index, attempt)
        name = chance.choice(_SAFE if self.max_atoms > 1 else _SAFE[:2])
        safe = decorated(prototypes()[name], chance)
        if safe is None:
            raise InputError("no element could be drawn.")
        return safe, attempt

    def _accepted(
        self, tried: list[tuple[int, Candidate, int]], rounds: Sequence[float]
    ) -> Iterator[tuple[int, Candidate, np.ndarray, np.ndarray]]:
        """Let candidates settle, and yield those that came to rest well."""
        if not tried:
            return
        flat = [candidate for _, candidate, _ in tried]
        these = joined(flat)
        settled = settle(these, rounds)
        for place, (index, candidate, attempt) in enumerate(tried):
            here = slice(int(these.offsets[place]), int(these.offsets[place + 1]))
            if attempt >= _ATTEMPTS or self._good(index, candidate, settled, place):
                yield index, candidate, settled.positions[here], settled.cell[place]

    def _good(self, index: int, candidate: Candidate, settled: Settled, place: int) -> bool:
        """Return whether bonds fit, nothing is too near, and the crystal is neither dense nor thin.

        A share of the crystals may be fairly strained, as compounds are that exist only in
        computers.
        """
        allowed = self.misfit * (1.0 if candidate.kind not in "mc" else 1.5)
        if self._chance(index, "lenient").random() < _LENIENT:
            allowed *= 2
        volume = abs(float(np.linalg.det(settled.cell[place])))
        least, most = _VOLUMES.get(candidate.kind, _VOLUMES["+"])
        return (
            bool(settled.misfit[place] < allowed)
            and bool(settled.crowding[place] > 0.87)
            and least < volume / candidate.volume < most
        )

    def _assembled(
        self,
        indices: Sequence[int],
        done: dict[int, tuple[Candidate, np.ndarray, np.ndarray]],
    ) -> Crystals:
        numbers, positions, cells, names = [], [], [], []
        for index in indices:
            candidate, where, cell = done[index]
            chance = self._chance(index, "disturb")
            number, where, cell = disturbed(self, candidate, where, cell, chance)
            numbers.append(number)
            positions.append(where)
            cells.append(cell)
            names.append(f"{self.seed}-{index}-{candidate.name}")
        counts = np.array([0, *map(len, numbers)])
        return Crystals(
            numbers=torch.from_numpy(np.concatenate(numbers)),
            positions=torch.from_numpy(np.concatenate(positions).astype(np.float32)),
            cell=torch.from_numpy(np.stack(cells).astype(np.float32)),
            pbc=torch.ones((len(indices), 3), dtype=torch.bool),
            offsets=torch.from_numpy(np.cumsum(counts)),
            ids=names,
        )


def joined(candidates: Sequence[Candidate]) -> Candidates:
    """Return candidates end to end, each with the volume that it is guessed to have."""
    every = [one for candidate in candidates for one in candidate.species]
    scales = np.array([np.cbrt(candidate.volume) for candidate in candidates])
    cells = np.stack([candidate.cell for candidate in candidates]) * scales[:, None, None]
    positions = [
        candidate.fractional @ cell for candidate, cell in zip(candidates, cells, strict=True)
    ]
    counts = [0, *(len(candidate.species) for candidate in candidates)]
    return Candidates(
        numbers=np.concatenate([numbers_of(candidate) for candidate in candidates]),
        charges=np.array([one.charge for one in every]),
        radii=np.array([one.radius for one in every]),
        electronegativities=np.array([one.electronegativity for one in every]),
        wanted=np.array([want for candidate in candidates for want in candidate.wanted]),
        positions=np.concatenate(positions),
        cell=cells,
        offsets=np.cumsum(counts),
    )
