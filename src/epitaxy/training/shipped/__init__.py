"""Weights that are installed with the package, a folder each; `epitaxy.training.weights`."""
