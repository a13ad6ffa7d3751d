"""The one LightningModule: a backbone, objectives with their heads, and how they are optimized."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from epitaxy.backbones.base import Backbone, Embedding, Encoding
from epitaxy.crystals.graph import Graph
from epitaxy.errors import TrainingError
from epitaxy.objectives.base import Objective, View
from epitaxy.registry import name_of
from epitaxy.training.loader import seeded_generator
from epitaxy.training.rank import Rank
from epitaxy.training.recipe import TrainingPlan

SIZE_RATE = 10.0  # learning rate of the log-sizes, as a multiple of the head's
SIZE_ROUNDING = 1e-3  # a derivative that small is rounding: Adam shall not scale it up to a step
SMALLEST_SIZE = 1e-8  # what a loss of zero counts as when its size is first measured
NAMED = 32  # crystals that an error names


class NotFiniteError(TrainingError):
    """A loss or a gradient that is not finite; the weights are still those from before it."""


class Encoder:
    """``embed`` then ``propagate``, remembered while one step lasts."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        # the graph is kept with its encoding, so that no other graph can take its identity
        self._remembered: dict[int, tuple[Graph, Encoding]] = {}

    def __call__(
        self, graph: Graph, alter: Callable[[Embedding], Embedding] | None = None
    ) -> Encoding:
        """Return the encoding of a graph; an altered one is never remembered."""
        if alter is not None:
            return self._backbone.propagate(graph, alter(self._backbone.embed(graph)))
        if id(graph) not in self._remembered:
            self._remembered[id(graph)] = (graph, self._backbone(graph))
        return self._remembered[id(graph)][1]


class Learner(LightningModule):
    """Minimizes Σ_k w_k L_k of several objectives that share one backbone.

    With learned weights it is Σ_k w_k (e^{−s_k} L_k + s_k), and the s_k are trained along (Kendall,
    Gal and Cipolla, arXiv:1705.07115: L_k is the energy of a likelihood whose scale is e^{s_k}). At
    rest e^{s_k} = L_k, so that every objective pulls by w_k whatever its unit. The s_k begin at the
    logarithms of the first batch's losses, which must not be negative; they are not decayed, and
    follow the schedule of the learning rate at ten times its height, since an s_k has units to go
    in a run and moves by about the rate at a step. A batch without a label of an objective leaves
    its s_k alone.

    Epochs are compared by ``judged``, which does not depend on the s_k.

    A step's batch is one View per objective, of this rank's share of the crystals.
    """

    def __init__(
        self,
        backbone: Backbone,
        objectives: Sequence[Objective],
        heads: Sequence[nn.Module],
        weights: Sequence[float],
        plan: TrainingPlan,
        total_steps: int,
        seed: int = 0,
        rank: Rank | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList(heads)
        self.objectives = tuple(objectives)
        self.names = unique_names(self.objectives)
        self.weights, self.plan, self.total_steps = tuple(weights), plan, total_steps
        self.seed, self.rank = seed, rank or Rank()
        learned = torch.zeros(len(self.weights)) if plan.weights == "learned" else None
        self.log_sizes = None if learned is None else nn.Parameter(learned)
        self.first_losses = [math.nan] * len(self.weights)  # of learned weights; NaN: none yet
        self.gradient_norm = torch.zeros(())  # of the last step
        self._ids: list[str] = []  # of its crystals
        if plan.freeze == "encoder":
            self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> "Learner":
        """Set the mode; a frozen backbone stays as it is, running statistics included."""
        super().train(mode)
        if self.plan.freeze == "encoder":
            self.backbone.eval()
        return self

    def losses(
        self, views: Sequence[View], shares: Sequence[float] | None = None
    ) -> dict[str, Tensor]:
        """Return what is minimized and every objective's own figures, under ``name/figure``.

        ``shares`` scale the objectives' gradients, not their values.
        """
        encode = Encoder(self.backbone)
        parts = zip(self.objectives, self.heads, views, strict=True)
        found = [objective.loss(encode, head, view) for objective, head, view in parts]
        figures = {
            f"{name}/{figure}": value.detach()
            for name, own in zip(self.names, found, strict=True)
            for figure, value in own.items()
        }
        terms = self._weighted([own["loss"] for own in found], views)
        if shares is not None:
            pairs = zip(terms, shares, strict=True)
            terms = [term.detach() + share * (term - term.detach()) for term, share in pairs]
        return {"loss": torch.as_tensor(sum(terms)), **figures, **self._learned_weights()}

    def judged(self, figures: Mapping[str, Any]) -> Any:
        """Return Σ_k w_k L_k of figures: what says which of two epochs is better.

        With learned weights every L_k is divided by that of the first batch with labels. The sum
        then means the same throughout a run, however the s_k move, and no objective outweighs
        the others by its unit.
        """
        total: Any = 0.0
        for name, weight, first in zip(self.names, self.weights, self.first_losses, strict=True):
            own = figures.get(f"{name}/loss")
            if self.log_sizes is None:
                first = 1.0
            if own is not None and not math.isnan(first):
                total = total + weight / first * own
        return total

    def _weighted(self, losses: Sequence[Tensor], views: Sequence[View]) -> list[Tensor]:
        """Return the terms of the sum that is minimized."""
        if self.log_sizes is None:
            return [weight * loss for weight, loss in zip(self.weights, losses, strict=True)]
        if self.training:
            self._measure_sizes(losses, views)
        parts = zip(self.weights, self.log_sizes, self.first_losses, losses, strict=True)
        return [
            0.0 * loss if math.isnan(first) else weight * (torch.exp(-size) * loss + size)
            for weight, size, first, loss in parts
        ]

    def _measure_sizes(self, losses: Sequence[Tensor], views: Sequence[View]) -> None:
        """Begin each s_k at the logarithm of its first loss; raises TrainingError if negative."""
        assert self.log_sizes is not None
        values = torch.stack([loss.detach().double().cpu() for loss in losses])
        for name, value in zip(self.names, values.tolist(), strict=True):
            if value < 0.0:
                raise TrainingError(
                    f"the loss of '{name}' is {value:.4g}, and training.weights = 'learned' is for "
                    "losses that cannot be negative: give the weights yourself."
                )
        if not any(map(math.isnan, self.first_losses)):
            return
        counts = torch.tensor(label_counts(views), dtype=torch.float64)
        weighted = torch.where(counts > 0, counts * values, 0.0)
        counts, sums = self.rank.total(torch.stack([counts, weighted]))
        for place, count in enumerate(counts.tolist()):
            if math.isnan(self.first_losses[place]) and count:
                first = (sums[place] / count).clamp(min=SMALLEST_SIZE)
                self.first_losses[place] = float(first)
                with torch.no_grad():
                    self.log_sizes[place] = torch.log(first)

    def _learned_weights(self) -> dict[str, Tensor]:
        """Return w_k e^{−s_k}, under ``name/weight``, while they are being learned."""
        if self.log_sizes is None or not self.training:
            return {}
        parts = zip(self.names, self.weights, self.log_sizes.detach(), strict=True)
        return {f"{name}/weight": weight * torch.exp(-size) for name, weight, size in parts}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what losses were at first in the resume state."""
        checkpoint["first_losses"] = self.first_losses

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self.first_losses = checkpoint.get("first_losses", self.first_losses)

    def on_train_batch_start(self, batch: Sequence[View], batch_idx: int) -> None:
        """Make whatever chance the weights' side uses a function of the step."""
        step = seeded_generator(self.seed, "step", self.global_step, *self.rank.seed_parts)
        torch.manual_seed(step.initial_seed())

    def training_step(self, batch: Sequence[View], batch_idx: int) -> dict[str, Tensor]:
        """Return the losses; raises NotFiniteError that names the crystals if one is not finite."""
        self._ids = _ids(batch)
        balanced = self.rank.of > 1 or self.log_sizes is not None
        figures = self.losses(batch, self._shares(batch) if balanced else None)
        value = float(figures["loss"].detach())
        if not math.isfinite(value):
            raise NotFiniteError(
                f"the loss became {value} at step {self.global_step}, on crystals "
                f"{self._culprits(batch)}. Lower the learning rate or look at these crystals."
            )
        return figures

    def validation_step(self, batch: Sequence[View], batch_idx: int) -> dict[str, Tensor]:
        """Return the figures of a validation batch; raises as ``training_step`` does."""
        with torch.set_grad_enabled(any(one.derivatives for one in self.objectives)):
            figures = {name: value.detach() for name, value in self.losses(batch).items()}
        figures["loss"] = torch.as_tensor(self.judged(figures))
        value = float(figures["loss"])
        if not math.isfinite(value):
            raise NotFiniteError(
                f"the validation loss became {value} after step {self.global_step}, on crystals "
                f"{self._culprits(batch)}. Lower the learning rate or look at these crystals."
            )
        return figures

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Measure the gradient, which is not clipped yet; raises NotFiniteError before it is used.

        Half precision has gradients that are not finite; its loss scaling passes them over.
        """
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self.gradient_norm = torch.nn.utils.get_total_norm(gradients)
        value = float(self.gradient_norm)
        if not math.isfinite(value) and self.plan.precision != "16-mixed":
            raise NotFiniteError(
                f"the gradient became {value} at step {self.global_step}, on crystals "
                f"{_told(self._ids)}. Lower the learning rate or look at these crystals."
            )

    def _culprits(self, batch: Sequence[View]) -> str:
        """Return the crystals whose own loss is not finite; all of the batch where none is."""
        self.eval()
        found: dict[str, None] = {}
        parts = zip(self.objectives, self.heads, batch, strict=True)
        for objective, head, view in parts:
            for place in range(len(view)):
                one = view[torch.tensor([place])]
                # some losses cannot be had of one crystal alone: that must not hide what is wrong
                with suppress(Exception), torch.set_grad_enabled(objective.derivatives):
                    loss = objective.loss(Encoder(self.backbone), head, one)["loss"]
                    if not math.isfinite(float(loss.detach())):
                        found[one.graphs[0].crystals.ids[0]] = None
        return _told([*found] or _ids(batch))

    def _shares(self, views: Sequence[View]) -> list[float]:
        """Return n_r R / Σ_r n_r for each objective, n_r the labels that rank r of R has of it.

        The ranks' gradients are averaged; weighted so, the mean over ranks of means over labels
        is the mean over the labels of the whole batch. A loss that is a sum of several means, as of
        energies and forces or of targets that are missing in different crystals, is weighted by
        all of its labels together, and only nearly equal to that of one device.
        """
        own = torch.tensor(label_counts(views), dtype=torch.float64)
        return (own * self.rank.of / self.rank.total(own).clamp(min=1.0)).tolist()

    def transfer_batch_to_device(
        self, batch: Sequence[View], device: torch.device, dataloader_idx: int
    ) -> Sequence[View]:
        """Move every view; its floating-point arrays take the weights' type."""
        dtype = next(self.parameters()).dtype
        moved: dict[int, Graph] = {}
        return [_moved(view, device, dtype, moved) for view in batch]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW; biases, norms, embeddings and log-sizes are not decayed."""
        plan = self.plan
        groups = []
        for module, rate in ((self.backbone, plan.encoder_rate), (self.heads, 1.0)):
            trained = [p for p in module.parameters() if p.requires_grad]
            embedded = {
                id(p)
                for m in module.modules()
                if isinstance(m, nn.Embedding)
                for p in m.parameters()
            }
            decayed = [p for p in trained if p.ndim > 1 and id(p) not in embedded]
            kept = {id(p) for p in decayed}
            others = [p for p in trained if id(p) not in kept]
            for parameters, decay in ((decayed, plan.weight_decay), (others, 0.0)):
                if parameters:
                    groups.append(
                        {
                            "params": parameters,
                            "weight_decay": decay,
                            "lr": plan.learning_rate * rate,
                        }
                    )
        if self.log_sizes is not None:
            rate = SIZE_RATE * plan.learning_rate
            own = {"params": [self.log_sizes], "weight_decay": 0.0, "lr": rate}
            groups.append({**own, "eps": SIZE_ROUNDING})
        # the fused step cannot be clipped where precision is mixed
        optimizer = torch.optim.AdamW(groups, fused=plan.precision == "32-true")
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_at(step / max(1, self.total_steps), plan)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def label_counts(views: Sequence[View]) -> list[float]:
    """Return how many labels there are in each objective's view; crystals where it has none."""
    return [
        sum(float(label.present().sum()) for label in view.labels.values())
        if view.labels
        else float(len(view))
        for view in views
    ]


def rate_at(progress: float, plan: TrainingPlan) -> float:
    """Return the learning rate at a fraction of the run, relative to the largest.

    ``one_cycle`` rises along a cosine from 1/25 over ``warmup`` and falls along a cosine to 1e-4
    (Smith and Topin, arXiv:1708.07120); ``cosine`` rises along a line and falls along a cosine.
    What ``plateau`` takes off does not follow from the step: the callback of that name knows it.
    """
    if plan.schedule in ("constant", "plateau"):
        return 1.0
    start, end = (0.04, 1e-4) if plan.schedule == "one_cycle" else (0.0, 0.0)
    if progress < plan.warmup:
        rise = progress / plan.warmup
        if plan.schedule == "one_cycle":
            rise = 0.5 * (1.0 - math.cos(math.pi * rise))
        return start + (1.0 - start) * rise
    fall = (min(progress, 1.0) - plan.warmup) / (1.0 - plan.warmup)
    return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * fall))


def unique_names(objectives: Sequence[Objective]) -> list[str]:
    """Return the objectives' names; the second of a kind is called ``name_2``."""
    names: list[str] = []
    for objective in objectives:
        name = name_of(objective)
        seen = sum(known == name or known.startswith(f"{name}_") for known in names)
        names.append(name if not seen else f"{name}_{seen + 1}")
    return names


def _ids(batch: Sequence[View]) -> list[str]:
    return list(dict.fromkeys(text for view in batch for text in view.graphs[0].crystals.ids))


def _told(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more


def _moved(view: View, device: torch.device, dtype: torch.dtype, moved: dict[int, Graph]) -> View:
    for graph in view.graphs:
        if id(graph) not in moved:
            moved[id(graph)] = graph.to(device, dtype)
    labels = {
        name: target.with_values(target.values.to(device, dtype))
        for name, target in view.labels.items()
    }
    return View(tuple(moved[id(graph)] for graph in view.graphs), labels, view.skipped)
