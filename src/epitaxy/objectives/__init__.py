"""What a network can be taught; one file is one objective."""

from epitaxy.objectives.denoise import Denoise
from epitaxy.objectives.fingerprint import Fingerprint
from epitaxy.objectives.property import Property

__all__ = ["Denoise", "Fingerprint", "Property"]
