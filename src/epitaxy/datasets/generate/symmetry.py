"""Space groups: operations on the primitive cell, special positions, cells of each system."""

import functools
import itertools
import math
import random
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_PROBES = 60  # chains of operations whose fixed points are looked for
_SAME = 1e-4  # of a lattice vector; points nearer than that are one


@dataclass(frozen=True, eq=False)
class Position:
    """A special (or the general) position of a space group, in the primitive cell.

    A point of it is ``onto @ x + at`` for any x; its images are ``turns @ point + steps``, each
    once. Positions without freedom hold one kind of atom only.
    """

    onto: Float[np.ndarray, "3 3"]
    at: Float[np.ndarray, "3"]
    turns: Float[np.ndarray, "images 3 3"]
    steps: Float[np.ndarray, "images 3"]
    freedom: int

    @functools.cached_property
    def images(self) -> int:
        """Atoms that it puts into the primitive cell."""
        return len(self.turns)

    def orbit(self, point: Float[np.ndarray, "3"]) -> Float[np.ndarray, "images 3"]:
        """Return the images of the point nearest to the one given, between 0 and 1."""
        here = self.onto @ point + self.at
        return (self.turns @ here + self.steps) % 1.0


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """A space group, with everything in fractions of its primitive cell.

    Attributes:
        primitive: its lattice vectors as rows, in those of the conventional cell.
        turns, steps: x → turns @ x + steps, without the lattice's own translations.
    """

    number: int
    primitive: Float[np.ndarray, "3 3"]
    turns: Float[np.ndarray, "operations 3 3"]
    steps: Float[np.ndarray, "operations 3"]

    def orbit(self, point: Float[np.ndarray, "3"]) -> Float[np.ndarray, "images 3"]:
        """Return the images of a point of the primitive cell, each once."""
        images = (self.turns @ point + self.steps) % 1.0
        return images[_first_of_each(images)]

    @functools.cached_property
    def positions(self) -> tuple[Position, ...]:
        """Return the special positions that chains of operations fix, and the general one."""
        chance = random.Random(self.number)
        generic = np.array([0.2719, 0.1487, 0.3931])
        found: dict[tuple[int, ...], Position] = {}
        for probe in range(_PROBES):
            onto, at = np.eye(3), np.zeros(3)
            if probe:
                start = np.array([chance.choice(_USUAL) for _ in range(3)])
                onto, at = self._fixed(start, chance)
            here = onto @ generic + at
            images = (self.turns @ here + self.steps) % 1.0
            keep = _first_of_each(images)
            freedom = int(np.linalg.matrix_rank(onto, 1e-6))
            turned = np.sort(np.rint(images[keep] * 1e4).astype(int) % 10_000, axis=0)
            key = (len(keep), freedom, *turned.ravel().tolist())
            found.setdefault(key, Position(onto, at, self.turns[keep], self.steps[keep], freedom))
        return tuple(sorted(found.values(), key=lambda one: (one.images, one.freedom)))

    def _fixed(
        self, start: Float[np.ndarray, "3"], chance: random.Random
    ) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
        """Return the projection onto what one to four operations fix near a point."""
        onto, at = np.eye(3), np.zeros(3)
        point = start
        for _ in range(chance.randint(1, 4)):
            which = chance.randrange(len(self.turns))
            turn, step = self.turns[which], self.steps[which]
            step = step + np.rint(point - (turn @ point + step))
            power, moved = np.eye(3), np.zeros(3)
            mean, shift, order = np.zeros((3, 3)), np.zeros(3), 0
            while order == 0 or not np.allclose(power, np.eye(3), atol=1e-6):
                mean, shift, order = mean + power, shift + moved, order + 1
                power, moved = turn @ power, turn @ moved + step
            if np.abs(moved).max() > _SAME:  # a screw or a glide: fixes nothing
                continue
            mean, shift = mean / order, shift / order
            onto, at = mean @ onto, mean @ at + shift
            point = onto @ start + at
        return _settled(onto, at)


_USUAL = (0.0, 0.0, 0.25, 0.5, 0.5, 1 / 3, 2 / 3, 0.75, 0.125, 0.19, 0.37)


def _settled(
    onto: Float[np.ndarray, "3 3"], at: Float[np.ndarray, "3"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Return the projection that a chain of projections becomes when it is repeated."""
    for _ in range(12):
        onto, at = onto @ onto, onto @ at + at
        if np.abs(at).max() > 50 or np.abs(onto).max() > 50:
            return np.eye(3), np.zeros(3)
        if np.allclose(onto @ onto, onto, atol=1e-9) and np.allclose(onto @ at, 0, atol=1e-9):
            return onto, at
    return np.eye(3), np.zeros(3)


def _first_of_each(points: Float[np.ndarray, "points 3"]) -> Int[np.ndarray, " kept"]:
    apart = points[:, None] - points[None]
    apart -= np.rint(apart)
    same = (np.abs(apart) < _SAME).all(2)
    return np.flatnonzero(same.argmax(1) == np.arange(len(points)))


@functools.cache
def space_group(number: int, setting: int = 1) -> SpaceGroup:
    """Return a space group by its number in the International Tables; setting 2 is origin 2."""
    from ase.spacegroup import Spacegroup

    group = Spacegroup(number, setting)
    rotations, translations = (np.asarray(part, dtype=np.float64) for part in group.get_op())
    primitive = np.asarray(group.scaled_primitive_cell, dtype=np.float64)
    inverse = np.linalg.inv(primitive)
    turns = (primitive @ rotations.swapaxes(1, 2) @ inverse).swapaxes(1, 2)
    steps = (translations @ inverse) % 1.0
    _, kept = np.unique(np.rint(turns).reshape(len(turns), 9), axis=0, return_index=True)
    return SpaceGroup(number, primitive, np.rint(turns[kept]), steps[kept])


def crystal_system(number: int) -> str:
    """Return the system of a space group; trigonal ones are hexagonal, by their cell.

    >>> crystal_system(225), crystal_system(62), crystal_system(166)
    ('cubic', 'orthorhombic', 'hexagonal')
    """
    ends = (2, "triclinic"), (15, "monoclinic"), (74, "orthorhombic"), (142, "tetragonal")
    for last, name in (*ends, (194, "hexagonal")):
        if number <= last:
            return name
    return "cubic"


def lattice(
    lengths: tuple[float, float, float], angles: tuple[float, float, float]
) -> Float[np.ndarray, "3 3"]:
    """Return lattice vectors as rows; angles in degrees: between b and c, a and c, a and b."""
    a, b, c = lengths
    alpha, beta, gamma = (math.radians(angle) for angle in angles)
    x = math.cos(beta)
    y = (math.cos(alpha) - x * math.cos(gamma)) / math.sin(gamma)
    z = math.sqrt(max(1 - x * x - y * y, 1e-4))
    return np.array(
        [[a, 0, 0], [b * math.cos(gamma), b * math.sin(gamma), 0], [c * x, c * y, c * z]]
    )


def random_lattice(number: int, chance: random.Random) -> Float[np.ndarray, "3 3"]:
    """Return a conventional cell of a group's system, of about unit volume."""
    system = crystal_system(number)
    a, b, c = (math.exp(chance.gauss(0.0, 0.25)) for _ in range(3))
    angles = (90.0, 90.0, 90.0)
    if system in ("tetragonal", "hexagonal"):
        b, c = a, c * c
    if system == "cubic":
        b = c = a
    if system == "hexagonal":
        angles = (90.0, 90.0, 120.0)
    elif system == "monoclinic":
        angles = (90.0, chance.uniform(90, 118), 90.0)
    elif system == "triclinic":
        angles = tuple(chance.uniform(70, 110) for _ in range(3))  # type: ignore[assignment]
    return lattice((a, b, c), angles)


def all_shifts(reach: int) -> Int[np.ndarray, "shifts 3"]:
    """Return all triples of whole numbers from −reach to reach."""
    return np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
