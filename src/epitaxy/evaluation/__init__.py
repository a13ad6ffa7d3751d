"""Evaluation: metrics, baselines, protocols and the paired statistics behind every verdict."""
