"""Crystals, what is known of them, their graphs, and their ways in and out."""
