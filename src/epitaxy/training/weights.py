"""Where weights lie: in a folder of the user's, or installed with the package."""

from pathlib import Path

SHIPPED = Path(__file__).parent / "shipped"


def shipped_names() -> list[str]:
    """Return the names that ``ep.load`` and ``--from`` take in place of a folder."""
    return sorted(card.parent.name for card in SHIPPED.glob("*/model.json"))


def weights_folder(path: str | Path) -> Path:
    """Return the folder of shipped weights where nothing here has that very name, else the path.

    >>> weights_folder("runs/mine").as_posix()
    'runs/mine'
    """
    known = str(path) in shipped_names() and not Path(path).exists()
    return SHIPPED / path if known else Path(path)


def name_of_weights(folder: Path) -> str:
    """Return the name of shipped weights, or the folder as it stands."""
    return folder.name if folder.parent == SHIPPED else str(folder)
