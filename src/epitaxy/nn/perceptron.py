"""Plain multi-layer perceptrons."""

from torch import nn


class Perceptron(nn.Sequential):
    """Linear → SiLU, repeated, and a last Linear without activation.

    ``Perceptron(128, [128, 128], 1)`` has two hidden layers of 128.
    """

    def __init__(self, inputs: int, hidden: list[int] | tuple[int, ...], outputs: int) -> None:
        widths = [inputs, *hidden]
        layers: list[nn.Module] = []
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(before, after), nn.SiLU()]
        super().__init__(*layers, nn.Linear(widths[-1], outputs))
