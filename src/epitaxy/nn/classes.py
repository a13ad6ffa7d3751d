"""Losses and hits of rows that belong to one of several classes each."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def cross_entropy(
    logits: Float[Tensor, "rows classes"], labels: Float[Tensor, " rows"]
) -> Float[Tensor, ""]:
    """Return the mean of −log p of the true class, p = softmax(logits), over the known labels.

    Labels are whole numbers from 0, and NaN where they are missing; zero where all are.
    """
    present = ~torch.isnan(labels)
    wanted = torch.where(present, labels, 0.0).long()
    losses = functional.cross_entropy(logits, wanted, reduction="none")
    return torch.where(present, losses, 0.0).sum() / present.sum().clamp(min=1)


def accuracies(
    logits: Float[Tensor, "rows classes"], labels: Float[Tensor, " rows"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the fraction of known labels that are hit, and its mean over the classes there are.

    The second, the balanced accuracy, is 1/K for whoever always says the same of K classes. Both
    are NaN without a known label.
    """
    present = ~torch.isnan(labels)
    wanted = torch.where(present, labels, 0.0).long()
    weights = present.to(logits.dtype)
    hits = weights * (logits.argmax(-1) == wanted)
    empty = logits.new_zeros(logits.shape[1])
    of_class = empty.index_add(0, wanted, weights)
    recall = empty.index_add(0, wanted, hits) / of_class.clamp(min=1)
    return hits.sum() / weights.sum(), recall.sum() / (of_class > 0).sum()
