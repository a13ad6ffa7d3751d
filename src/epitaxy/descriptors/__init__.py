"""Structural fingerprints of atoms; one file is one fingerprint."""

from epitaxy.descriptors.wacsf import WACSF

__all__ = ["WACSF"]
