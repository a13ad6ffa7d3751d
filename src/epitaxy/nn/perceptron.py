"""Plain multi-layer perceptrons."""

from itertools import pairwise

from torch import nn


class Perceptron(nn.Sequential):
    """Linear → SiLU, repeated, and a last Linear without activation.

    ``Perceptron(128, [128, 128], 1)`` has two hidden layers of 128.
    """

    def __init__(self, inputs: int, hidden: list[int] | tuple[int, ...], outputs: int) -> None:
        widths = [inputs, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.SiLU()]
        super().__init__(*layers, nn.Linear(widths[-1], outputs))
