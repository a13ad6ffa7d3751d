"""The one LightningModule: a backbone, objectives with their heads, and how they are optimized."""

import math
from collections.abc import Callable, Sequence

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
        """Return the weighted loss and every objective's own figures, under ``name/figure``.

        ``shares`` scale the objectives' gradients, not their values.
        """
        encode = Encoder(self.backbone)
        total: Tensor | float = 0.0
        figures: dict[str, Tensor] = {}
        parts = zip(self.names, self.objectives, self.heads, self.weights, views, strict=True)
        for number, (name, objective, head, weight, view) in enumerate(parts):
            own = objective.loss(encode, head, view)
            loss = own["loss"]
            if shares is not None:
                loss = loss.detach() + shares[number] * (loss - loss.detach())
            total = total + weight * loss
            figures |= {f"{name}/{figure}": value.detach() for figure, value in own.items()}
        return {"loss": torch.as_tensor(total), **figures}

    def on_train_batch_start(self, batch: Sequence[View], batch_idx: int) -> None:
        """Make whatever chance the weights' side uses a function of the step."""
        step = seeded_generator(self.seed, "step", self.global_step, *self.rank.seed_parts)
        torch.manual_seed(step.initial_seed())

    def training_step(self, batch: Sequence[View], batch_idx: int) -> dict[str, Tensor]:
        """Return the losses; raises TrainingError that names the crystals if one is not finite."""
        figures = self.losses(batch, self._shares(batch) if self.rank.of > 1 else None)
        value = float(figures["loss"].detach())
        if not math.isfinite(value):
            ids = list(batch[0].graphs[0].crystals.ids)
            raise TrainingError(
                f"the loss became {value} at step {self.global_step}, on crystals "
                f"{', '.join(ids[:8])}{' …' if len(ids) > 8 else ''}. Lower the learning rate or "
                "look at these crystals; the last good checkpoint is kept."
            )
        return figures

    def validation_step(self, batch: Sequence[View], batch_idx: int) -> dict[str, Tensor]:
        """Return the losses of a validation batch."""
        with torch.set_grad_enabled(any(one.derivatives for one in self.objectives)):
            return {name: value.detach() for name, value in self.losses(batch).items()}

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
        """AdamW; biases, norms and embeddings are not decayed."""
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
    """
    if plan.schedule == "constant":
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


def _moved(view: View, device: torch.device, dtype: torch.dtype, moved: dict[int, Graph]) -> View:
    for graph in view.graphs:
        if id(graph) not in moved:
            moved[id(graph)] = graph.to(device, dtype)
    labels = {
        name: target.with_values(target.values.to(device, dtype))
        for name, target in view.labels.items()
    }
    return View(tuple(moved[id(graph)] for graph in view.graphs), labels, view.skipped)
