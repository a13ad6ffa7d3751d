"""Batches as a function of (seed, step): any step can be made at any time, in any process."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.errors import InputError
from epitaxy.objectives.base import Objective, View
from epitaxy.registry import name_of
from epitaxy.training.rank import Rank
from epitaxy.training.recipe import TrainingPlan

ATOMS_AT_ONCE = 2000  # whose views are made at once when they are all kept


def seeded_generator(*parts: int | str) -> torch.Generator:
    """Return a generator that depends on nothing but these parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class BatchPlan:
    """Which crystals make up a step.

    Every epoch is a fresh shuffle of all crystals, cut into the same number of batches: of equal
    crystal counts, or, with ``atoms_per_batch``, of nearly equal atom counts.
    """

    atom_counts: Int[Tensor, " crystals"]
    seed: int
    batch_size: int
    atoms_per_batch: int | None = None
    shuffle: bool = True
    _epoch: int = -1
    _batches: tuple[Tensor, ...] | list[Tensor] = ()

    @property
    def per_epoch(self) -> int:
        """Batches in every epoch."""
        if self.atoms_per_batch is None:
            return max(1, -(-len(self.atom_counts) // self.batch_size))
        return max(1, int(self._loads().sum()) // self.atoms_per_batch)

    def fewest(self, epochs: int) -> int:
        """Return the fewest crystals of a batch in so many epochs."""
        # batches of equal crystal counts are equally large in every epoch
        several = range(epochs if self.shuffle and self.atoms_per_batch is not None else 1)
        return min(len(batch) for epoch in several for batch in self._cut(epoch))

    def crystals_of(self, step: int) -> Int[Tensor, " batch"]:
        """Return the indices of the crystals of a step, counted from the first epoch on."""
        epoch, position = divmod(step, self.per_epoch)
        if self._epoch != epoch:
            object.__setattr__(self, "_batches", self._cut(epoch))
            object.__setattr__(self, "_epoch", epoch)
        return self._batches[position]

    def _cut(self, epoch: int) -> list[Tensor]:
        """Return an epoch's batches: a crystal belongs to the one in which its middle falls.

        No load exceeds a batch's share, so no batch is left without a middle.
        """
        count = len(self.atom_counts)
        order = torch.arange(count)
        if self.shuffle:
            order = torch.randperm(count, generator=seeded_generator(self.seed, "order", epoch))
        load = self._loads()[order].double()
        middle = load.cumsum(0) - 0.5 * load
        batch = (middle * self.per_epoch / load.sum()).long().clamp(max=self.per_epoch - 1)
        sizes = torch.bincount(batch, minlength=self.per_epoch)
        return list(torch.split(order, sizes.tolist()))

    def _loads(self) -> Tensor:
        """Return what each crystal counts: one, or its atoms, at most a batch's worth."""
        if self.atoms_per_batch is None:
            return torch.ones_like(self.atom_counts)
        return self.atom_counts.clamp(max=self.atoms_per_batch)


class Views(Dataset):
    """``views[step]`` is what every objective sees of this rank's crystals of that step.

    Views that do not depend on chance are made once and kept while they have at most
    ``cache_edges`` edges.
    """

    def __init__(
        self,
        crystals: Crystals,
        objectives: Sequence[Objective],
        build_graph: GraphBuilder,
        plan: BatchPlan,
        cache_edges: int = 0,
        rank: Rank | None = None,
    ) -> None:
        self.crystals, self.objectives, self.plan = crystals, tuple(objectives), plan
        self.build_graph, self.rank = build_graph, rank or Rank()
        self._kept = self._all_views() if self._fits(cache_edges) else None

    def __getitem__(self, step: int) -> tuple[View, ...]:
        chosen = self.rank.share(self.plan.crystals_of(step))
        if self._kept is not None:
            return _select(self._kept, chosen)
        return self._made(self.crystals[chosen], step)

    def _made(self, crystals: Crystals, step: int) -> tuple[View, ...]:
        generators = (
            seeded_generator(self.plan.seed, "view", number, step, *self.rank.seed_parts)
            for number in range(len(self.objectives))
        )
        return tuple(
            objective.view(crystals, self.build_graph, generator)
            for objective, generator in zip(self.objectives, generators, strict=True)
        )

    def _fits(self, cache_edges: int) -> bool:
        if not cache_edges or any(objective.chance for objective in self.objectives):
            return False
        sample = self.crystals[torch.linspace(0, len(self.crystals) - 1, 64).long().unique()]
        edges_per_atom = self.build_graph(sample).edge_total / max(1, sample.atom_total)
        return edges_per_atom * self.crystals.atom_total <= cache_edges

    def _all_views(self) -> tuple[View, ...]:
        chunks = self.crystals.chunks(ATOMS_AT_ONCE)
        return _join_views([self._made(self.crystals[chunk], 0) for chunk in chunks])


class StepsFrom(Sampler[int]):
    """The steps from ``start`` on, up to ``total``."""

    def __init__(self, start: int, total: int) -> None:
        self.start, self.total = start, total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.total))

    def __len__(self) -> int:
        # Counted from the very first step: the trainer adds what it has already seen.
        return self.total


def training_loader(views: Views, start: int, total: int, workers: int) -> DataLoader:
    """Return the loader of the steps from ``start`` to ``total``."""
    return DataLoader(
        views,
        batch_size=None,
        sampler=StepsFrom(start, total),
        num_workers=workers,
        persistent_workers=False,
    )


def graph_builder(backbone: Backbone, objectives: Sequence[Objective]) -> GraphBuilder:
    """Return the backbone's graph builder, reaching as far as any objective's labels."""
    return backbone.graph_builder(max((objective.reach for objective in objectives), default=0.0))


def refuse_small_batches(
    objectives: Sequence[Objective], plan: TrainingPlan, training: Views, held: Views | None
) -> None:
    """Raise InputError where a batch has fewer crystals than an objective needs at once."""
    for one in objectives:
        if one.fewest == 1:
            continue
        needs = f"'{name_of(one)}' needs batches of {one.fewest} crystals or more"
        key = "atoms_per_batch" if plan.atoms_per_batch is not None else "batch_size"
        shared = f", shared by {training.rank.of} devices" if training.rank.of > 1 else ""
        fewest = training.plan.fewest(plan.epochs)
        if fewest // training.rank.of < one.fewest:
            raise InputError(
                f"{needs}, and a training batch has {fewest}{shared}: raise training.{key}"
                f"{' or take fewer devices' if shared else ''}."
            )
        if held is not None and held.plan.fewest(1) // training.rank.of < one.fewest:
            count, fewest = len(held.crystals), held.plan.fewest(1)
            key = f"training.{key} or data.validation" if count > fewest else "data.validation"
            raise InputError(
                f"{needs}, and a validation batch has {fewest}{shared} ({count} crystals are kept "
                f"aside): raise {key}, or set data.validation = 0 to keep none aside."
            )


def _select(views: tuple[View, ...], chosen: Tensor) -> tuple[View, ...]:
    """Select crystals; a graph that several views share is selected, and later encoded, once."""
    selected: dict[int, Graph] = {}
    result = []
    for view in views:
        for graph in view.graphs:
            if id(graph) not in selected:
                selected[id(graph)] = graph[chosen]
        carrier = view.graphs[0].crystals.with_targets(view.labels)
        result.append(
            View(
                graphs=tuple(selected[id(graph)] for graph in view.graphs),
                labels=carrier[chosen].targets,
                skipped=view.skipped,
            )
        )
    return tuple(result)


def _join_views(parts: Sequence[tuple[View, ...]]) -> tuple[View, ...]:
    """Join views crystal-wise; a graph that several views share stays one graph."""
    joined: dict[tuple[int, ...], Graph] = {}
    result = []
    for pieces in zip(*parts, strict=True):
        graphs = []
        for same in zip(*(piece.graphs for piece in pieces), strict=True):
            key = tuple(id(graph) for graph in same)
            if key not in joined:
                joined[key] = _join_graphs(same)
            graphs.append(joined[key])
        carriers = [piece.graphs[0].crystals.with_targets(piece.labels) for piece in pieces]
        skipped = tuple(text for piece in pieces for text in piece.skipped)
        result.append(View(tuple(graphs), cat(carriers).targets, skipped))
    return tuple(result)


def _join_graphs(pieces: Sequence[Graph]) -> Graph:
    starts = torch.tensor([0, *(piece.crystals.atom_total for piece in pieces)]).cumsum(0)[:-1]
    placed = list(zip(pieces, starts, strict=True))
    return Graph(
        crystals=cat([piece.crystals for piece in pieces]),
        center=torch.cat([piece.center + start for piece, start in placed]),
        neighbor=torch.cat([piece.neighbor + start for piece, start in placed]),
        shift=torch.cat([piece.shift for piece in pieces]),
        cutoff=pieces[0].cutoff,
    )
