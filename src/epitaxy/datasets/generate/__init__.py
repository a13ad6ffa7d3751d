"""Crystals made up by seed: prototypes with elements put on, and random ones of a symmetry."""
