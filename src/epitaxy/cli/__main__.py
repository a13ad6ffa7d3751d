"""``python -m epitaxy.cli``."""

from epitaxy.cli import main

main()
