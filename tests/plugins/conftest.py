"""``session.py`` runs in a process of its own, where the example is installed."""

collect_ignore = ["session.py"]
