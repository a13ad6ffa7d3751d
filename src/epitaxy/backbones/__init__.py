"""Graph networks that turn crystals into representations; one file is one backbone."""

from epitaxy.backbones.cgcnn import CGCNN
from epitaxy.backbones.megnet import MEGNet
from epitaxy.backbones.torchmd_et import TorchMDET

__all__ = ["CGCNN", "MEGNet", "TorchMDET"]
