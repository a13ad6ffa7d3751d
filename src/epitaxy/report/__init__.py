"""Reports: figures, the page of a run, and tables for the terminal. Nothing here imports torch."""
