"""Data sets: how crystals are read from what people have."""
