"""What a network has made of atoms, edges and crystals, as a table: frozen representations."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from epitaxy.backbones.base import Backbone, Encoding
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.segments import gather
from epitaxy.datasets.readers import read_with_report
from epitaxy.errors import InputError, did_you_mean
from epitaxy.nn.statistics import statistic_names, statistics_over
from epitaxy.training.checkpoint import Model
from epitaxy.training.finetune import Ancestor, as_model
from epitaxy.training.train import LABELS, labels_seen

ATOMS_AT_ONCE = 2000
LAST = "last"
LEVELS = ("crystal", "atom", "edge", "state")


def layer_ranges(layers: int) -> dict[str, tuple[int, ...]]:
    """Return the layers behind every name, of ``layers`` + 1 layers counted from the elements' own.

    A number is one layer, NE0 the element before any neighbor is seen; numbers from zero on are
    these layers side by side (arXiv:2211.03563).

    >>> layer_ranges(2)
    {'0': (0,), '1': (1,), '2': (2,), '01': (0, 1), '012': (0, 1, 2)}
    """
    singles = {str(layer): (layer,) for layer in range(layers + 1)}
    prefixes = {
        "".join(map(str, range(last + 1))): tuple(range(last + 1)) for last in range(1, layers + 1)
    }
    return singles | prefixes


@dataclass(frozen=True)
class Reading:
    """Which of a backbone's representations are read, and how they become rows.

    Attributes:
        layer: ``"last"``, the encoder's result; or a name of ``layer_ranges``.
        level: ``"atom"``, ``"edge"`` or ``"crystal"``, rows of atoms pooled; ``"state"``, the
            state features of crystals.
        pooling: as in ``statistics_over``; at crystal level only.
        joined: at crystal level, nodes, edges and, where there is one, state side by side: the
            representation of CDSSL (arXiv:2408.17255), pooled without weights.
    """

    layer: str = LAST
    level: str = "crystal"
    pooling: str = "mean"
    joined: bool = False

    def checked(self, backbone: Backbone) -> "Reading":
        """Return itself; raises InputError that names what this backbone does not have."""
        kind = type(backbone).__name__
        if self.level not in LEVELS:
            raise InputError(f"level is 'atom', 'crystal', 'edge' or 'state', not '{self.level}'.")
        if self.joined and self.level != "crystal":
            raise InputError(f"joined representations are of crystals, not of level '{self.level}'")
        if self.level == "state" and not backbone.has_state:
            raise InputError(f"{kind} has no state: read its atoms or crystals.")
        if (self.level == "edge" or self.joined) and not backbone.has_edges:
            raise InputError(f"{kind} has no representations of edges: read its atoms or crystals.")
        if self.layer != LAST and (self.level in ("edge", "state") or self.joined):
            raise InputError(
                f"only atoms have layers; edges and state are read as they end, not in layer "
                f"'{self.layer}'."
            )
        known = layer_ranges(len(_widths(backbone).layers) - 1)
        if self.layer != LAST and self.layer not in known:
            raise InputError(
                f"{kind} has no layer '{self.layer}'. {did_you_mean(self.layer, [LAST, *known])}"
            )
        statistic_names(self.pooling, ())
        return self

    def of(self, graph: Graph, encoding: Encoding) -> Float[Tensor, "rows columns"]:
        """Return one row per atom, edge or crystal, in their order."""
        if self.level == "edge":
            return encoding.edges
        if self.level == "state":
            assert encoding.crystals is not None
            return encoding.crystals
        nodes = self._nodes(encoding)
        if self.level == "atom":
            return nodes
        crystals = graph.crystals
        owner, counts = crystals.crystal_of_atom, crystals.atom_counts
        parts = [statistics_over(nodes, owner, counts, self.pooling)]  # type: ignore[arg-type]
        if self.joined:
            owner = gather(owner, graph.center)
            counts = torch.bincount(owner, minlength=len(crystals))
            pooled = statistics_over(encoding.edges, owner, counts, self.pooling)  # type: ignore[arg-type]
            parts.append(pooled)
            parts += [] if encoding.crystals is None else [encoding.crystals]
        return torch.cat(parts, dim=1)

    def columns(self, backbone: Backbone) -> tuple[str, ...]:
        """Return a name for each column."""
        widths = _widths(backbone)
        edges = _numbered("edge", widths.edges)
        state = _numbered("state", widths.state)
        if self.level == "edge":
            return edges
        if self.level == "state":
            return state
        if self.layer == LAST:
            nodes = _numbered("node", widths.nodes)
        else:
            chosen = layer_ranges(len(widths.layers) - 1)[self.layer]
            nodes = tuple(
                name for layer in chosen for name in _numbered(f"NE{layer}", widths.layers[layer])
            )
        if self.level == "atom":
            return nodes
        pooled = statistic_names(self.pooling, nodes)
        if self.joined:
            pooled += (*statistic_names(self.pooling, edges), *state)
        return pooled

    def _nodes(self, encoding: Encoding) -> Float[Tensor, "atoms columns"]:
        if self.layer == LAST:
            return encoding.nodes
        chosen = layer_ranges(len(encoding.layers) - 1)[self.layer]
        return torch.cat([encoding.layers[layer] for layer in chosen], dim=1)


def embed(
    model: Ancestor,
    crystals: Any,
    *,
    layer: str = LAST,
    level: str = "crystal",
    pooling: str = "mean",
    joined: bool = False,
    strict: bool = False,
) -> pd.DataFrame:
    """Return frozen representations, a row per atom, edge or crystal: what the encoder ended with.

    The columns ``id`` and ``flag`` come first; atoms have ``atom`` (their place in the crystal) and
    ``number`` besides, edges ``center``, ``neighbor`` and ``shift_a``, ``shift_b``, ``shift_c`` in
    whole cells. ``flag`` is empty, or says which element or surroundings the training data did not
    hold. All of it is held in memory; ``epitaxy embed`` streams to a file.

    Args:
        model: a run, a model, or a checkpoint's folder.
        crystals: whatever ``read_crystals`` reads; what could not be read is said in
            ``table.attrs["report"]`` and on the standard error.
        layer: ``"last"``, a layer (``"0"``, ``"1"`` …) or layers from the elements' own on, side
            by side (``"01"``, ``"012"`` …).
        level: ``"crystal"``, ``"atom"``, ``"edge"`` or ``"state"``.
        pooling: from atoms to crystals: mean, sum, min, max, extremes or cumulants.
        joined: nodes, edges and state of a crystal, pooled and side by side.
        strict: refuse what cannot be read.
    """
    loaded = model_named(model, "embed")
    reading = Reading(layer, level, pooling, joined).checked(loaded.backbone)
    read, report = read_with_report(crystals, targets=(), strict=strict)
    if report.skipped:
        print(report.summary(), file=sys.stderr)
    found = [
        (places(graph, level), reading.of(graph, encoding).cpu())
        for graph, encoding in encoded(loaded.backbone, read)
    ]
    columns = list(reading.columns(loaded.backbone))
    features = pd.DataFrame(torch.cat([rows for _, rows in found]).numpy(), columns=columns)
    table = pd.concat([pd.DataFrame(where) for where, _ in found], ignore_index=True)
    flags = dict(zip(read.ids, loaded.coverage.flags(read), strict=True))
    table["flag"] = table["id"].map(flags)
    table = pd.concat([table, features], axis=1)
    table.attrs["report"] = report.summary()
    return table


def with_representations(
    model: Ancestor, crystals: Any, layer: str = LAST, *, strict: bool = False
) -> Crystals:
    """Return crystals that carry the frozen representations of their atoms as an input.

    A node-embedding network (arXiv:2211.03563) starts from them: give a backbone
    ``inputs = [name, columns]``. The input's name holds the layer and the first digits of the
    weights' SHA-256, ``NE012@84239cf6db97``, so that a network cannot be given another encoder's;
    and the targets whose labels the encoder has read, if any, behind a ``+``.

    Args:
        model: a run, a model, or a checkpoint's folder; it has to be saved.
        crystals: whatever ``read_crystals`` reads; targets stay.
        layer: ``"last"``, a layer, or layers side by side, as ``embed`` has them.
        strict: refuse what cannot be read.
    """
    loaded = model_named(model, "with_representations")
    reading = Reading(layer, "atom").checked(loaded.backbone)
    read, report = read_with_report(crystals, strict=strict)
    if report.skipped:
        print(report.summary(), file=sys.stderr)
    rows = [reading.of(*pair).cpu() for pair in encoded(loaded.backbone, read)]
    inputs = {**read.inputs, input_name(loaded, layer): torch.cat(rows)}
    return replace(read, inputs=inputs)


def input_name(model: Model, layer: str) -> str:
    """Return the name of the input that ``with_representations`` adds."""
    digest = model.card.get("weights", {}).get("sha256")
    if digest is None:
        raise InputError("the encoder has no saved weights to be told by: save it first.")
    seen = labels_seen(model)
    return f"NE{layer}@{digest[:12]}" + (f"{LABELS}{','.join(seen)}" if seen else "")


def encoded(
    backbone: Backbone, crystals: Crystals, atoms: int = ATOMS_AT_ONCE
) -> Iterator[tuple[Graph, Encoding]]:
    """Yield graphs of about so many atoms at a time, and their encodings, without derivatives.

    In single precision, on the device where the backbone is, which is put into evaluation mode.
    """
    crystals = crystals.with_targets({}).to(dtype=torch.float32)
    device = next(backbone.parameters()).device
    builder = backbone.eval().graph_builder()
    for chunk in crystals.chunks(atoms):
        graph = builder(crystals[chunk]).to(device)
        with torch.no_grad():
            encoding = backbone(graph)
        yield graph, encoding


def places(graph: Graph, level: str) -> dict[str, Any]:
    """Return the columns that say what each row is, by name."""
    crystals = graph.crystals.to("cpu")
    owner, numbers = crystals.crystal_of_atom, crystals.numbers
    place = torch.arange(crystals.atom_total) - crystals.offsets[owner]
    if level in ("crystal", "state"):
        return {"id": list(crystals.ids)}
    if level == "atom":
        return {
            "id": [crystals.ids[one] for one in owner.tolist()],
            "atom": place.to(torch.int32).numpy(),
            "number": numbers.to(torch.int16).numpy(),
        }
    center, neighbor, shift = (one.cpu() for one in (graph.center, graph.neighbor, graph.shift))
    return {
        "id": [crystals.ids[one] for one in owner[center].tolist()],
        "center": place[center].to(torch.int32).numpy(),
        "neighbor": place[neighbor].to(torch.int32).numpy(),
        **{f"shift_{axis}": shift[:, k].to(torch.int32).numpy() for k, axis in enumerate("abc")},
    }


def lone_atom(backbone: Backbone) -> Crystals:
    """Return a hydrogen atom without neighbors: what has columns has them of it too."""
    given = getattr(backbone, "inputs", None)
    return Crystals(
        numbers=torch.tensor([1]),
        positions=torch.zeros(1, 3),
        cell=torch.zeros(1, 3, 3),
        pbc=torch.zeros(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 1]),
        inputs={} if given is None else {given[0]: torch.zeros(1, given[1])},
    )


@dataclass(frozen=True)
class _Widths:
    nodes: int
    edges: int
    state: int
    layers: tuple[int, ...]


def _widths(backbone: Backbone) -> _Widths:
    """Return how wide everything is, found by encoding a hydrogen atom."""
    _, encoding = next(encoded(backbone, lone_atom(backbone)))
    return _Widths(
        nodes=encoding.nodes.shape[1],
        edges=encoding.edges.shape[1],
        state=0 if encoding.crystals is None else encoding.crystals.shape[1],
        layers=tuple(layer.shape[1] for layer in encoding.layers),
    )


def _numbered(name: str, width: int) -> tuple[str, ...]:
    return tuple(f"{name}[{column}]" for column in range(width))


def model_named(source: Ancestor, what: str) -> Model:
    """Return the model of a run or a folder; raises InputError where none is given."""
    model = as_model(source)
    if model is None:
        raise InputError(f"{what} needs a model: a run, or its folder.")
    return model
