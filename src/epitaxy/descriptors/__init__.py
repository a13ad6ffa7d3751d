"""Structural fingerprints of atoms; one file is one fingerprint."""

from epitaxy.descriptors.ead import EAD
from epitaxy.descriptors.gmp import GMP
from epitaxy.descriptors.wacsf import WACSF

__all__ = ["EAD", "GMP", "WACSF"]
