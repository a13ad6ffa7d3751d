"""Losses and accuracies of classes, against counting by hand."""

import pytest
import torch
from torch.nn import functional

from epitaxy.nn.classes import accuracies, cross_entropy

LOGITS = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 3.0], [0.0, 1.0, 0.0]])


def test_the_loss_of_ignorance_is_the_logarithm_of_the_number_of_classes():
    loss = cross_entropy(torch.zeros(5, 4), torch.tensor([0.0, 1.0, 2.0, 3.0, 3.0]))
    assert float(loss) == pytest.approx(torch.tensor(4.0).log())


def test_missing_labels_are_as_if_their_rows_were_not_there():
    labels = torch.tensor([0.0, torch.nan, 2.0, torch.nan])
    logits = LOGITS.clone().requires_grad_()
    loss = cross_entropy(logits, labels)
    expected = functional.cross_entropy(LOGITS[[0, 2]], torch.tensor([0, 2]))
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[[1, 3]] == 0).all()
    everywhere = torch.full((4,), torch.nan)
    assert float(cross_entropy(LOGITS, everywhere)) == 0.0
    assert all(bool(torch.isnan(one)) for one in accuracies(LOGITS, everywhere))


def test_accuracies_are_counts():
    plain, balanced = accuracies(LOGITS, torch.tensor([0.0, 1.0, 2.0, torch.nan]))
    assert float(plain) == pytest.approx(2 / 3)
    assert float(balanced) == pytest.approx((1 + 0 + 1) / 3)


def test_whoever_always_names_the_frequent_class_has_a_balanced_accuracy_of_one_half():
    labels = torch.tensor([1.0] * 95 + [0.0] * 5)
    plain, balanced = accuracies(torch.tensor([[0.0, 1.0]]).expand(100, 2), labels)
    assert float(plain) == pytest.approx(0.95)
    assert float(balanced) == pytest.approx(0.5)


def test_a_class_that_is_not_there_does_not_count_as_missed():
    plain, balanced = accuracies(LOGITS[:2], torch.zeros(2))
    assert (float(plain), float(balanced)) == (1.0, 1.0)
