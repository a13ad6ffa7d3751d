"""Figures: tidy records in, a matplotlib Figure out."""
