"""Which crystals an objective could make nothing of while it was trained."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from epitaxy.objectives.base import View
from epitaxy.training.rank import Rank

NAMED = 5  # crystals that a sentence names


class SkippedCrystals(Callback):
    """Collects the ids that views have skipped, by objective, over all ranks and resumed parts."""

    def __init__(self, ids: Sequence[str], rank: Rank) -> None:
        self.ids, self.rank = tuple(dict.fromkeys(ids)), rank
        self._place = {text: place for place, text in enumerate(self.ids)}
        self._found: dict[str, torch.Tensor] = {}  # objective → whether it skipped a crystal
        self.found: dict[str, list[str]] = {}

    def on_train_batch_end(
        self, trainer: Trainer, learner: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take note of a training batch."""
        self._add(learner, batch)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        learner: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take note of a validation batch."""
        self._add(learner, batch)

    def on_train_end(self, trainer: Trainer, learner: LightningModule) -> None:
        """Join what all ranks have found."""
        self.found = self.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return objective → ids, over all ranks."""
        totals = {name: self.rank.total(mask.float()) for name, mask in self._found.items()}
        return {
            name: [self.ids[int(place)] for place in torch.nonzero(total).flatten()]
            for name, total in totals.items()
            if total.any()
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        for name, ids in state_dict.items():
            self._note(name, ids)

    def _add(self, learner: LightningModule, batch: Sequence[View]) -> None:
        for name, view in zip(learner.names, batch, strict=True):  # type: ignore[arg-type]
            self._note(name, view.skipped)

    def _note(self, name: str, ids: Sequence[str]) -> None:
        mask = self._found.setdefault(name, torch.zeros(len(self.ids), dtype=torch.bool))
        places = [self._place[text] for text in ids if text in self._place]
        if places:
            mask[places] = True


def told(skipped: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a sentence for every objective that skipped crystals."""
    return [
        f"{name} could make nothing of {len(ids)} crystal{'s' if len(ids) > 1 else ''} "
        f"({', '.join(ids[:NAMED])}{' …' if len(ids) > NAMED else ''}): skipped whenever drawn."
        for name, ids in skipped.items()
    ]
