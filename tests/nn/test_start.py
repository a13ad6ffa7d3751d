import torch

from epitaxy.nn.perceptron import Perceptron
from epitaxy.nn.start import begin_near


def test_untrained_outputs_lie_near_the_answer_and_still_depend_on_the_input():
    torch.manual_seed(0)
    head, answer = Perceptron(6, (6,), 3), torch.tensor([5.0, -3.0, 0.0])
    begin_near(head, answer)
    outputs = head(torch.randn(50, 6))
    assert (outputs - answer).abs().max() < 0.2
    assert outputs.std(0).min() > 1e-3
