"""Graph networks that turn crystals into representations; one file is one backbone."""

from epitaxy.backbones.torchmd_et import TorchMDET

__all__ = ["TorchMDET"]
