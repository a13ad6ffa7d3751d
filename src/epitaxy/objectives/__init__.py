"""What a network can be taught; one file is one objective."""

from epitaxy.objectives.composition import Composition
from epitaxy.objectives.contrastive import Contrastive
from epitaxy.objectives.denoise import Denoise
from epitaxy.objectives.edge_denoise import EdgeDenoise
from epitaxy.objectives.energy_forces import EnergyForces
from epitaxy.objectives.fingerprint import Fingerprint
from epitaxy.objectives.masked import Masked
from epitaxy.objectives.property import Property

__all__ = [
    "Composition",
    "Contrastive",
    "Denoise",
    "EdgeDenoise",
    "EnergyForces",
    "Fingerprint",
    "Masked",
    "Property",
]
