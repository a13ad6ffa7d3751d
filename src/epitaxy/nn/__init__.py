"""Layers that more than one room uses."""
