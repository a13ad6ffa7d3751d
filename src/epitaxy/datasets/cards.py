"""Cards of data sets: where one lies, how it is read, what it means, who is to be cited."""

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from epitaxy.errors import EpitaxyError, InputError

CARDS_VARIABLE = "EPITAXY_CARDS"
_SHIPPED = Path(__file__).with_name("cards.toml")

Form = Literal[
    "table_json",
    "records_json",
    "trajectories_json",
    "pickled_trajectories",
    "xyz",
    "ase_db",
    "aselmdb",
    "parquet",
    "archive",
    "optimade",
    "materials_project",
    "any",
]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
FileName = Annotated[str, Field(pattern=r"^[^/\\\s.][^/\\\s]*$")]
Address = Annotated[str, Field(pattern=r"^(https?|file)://\S+$")]


class CardError(EpitaxyError, ValueError):
    """A card, or the name of a data set, that cannot be used."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CardFile(_Part):
    """One file of a data set.

    Attributes:
        name: what it is called in the cache; with ``*`` any number of files put there by hand.
        addresses: tried in their order; none where the file has to be fetched by hand.
        sha256: of the file as it is fetched; empty where it is recorded at the first download.
    """

    name: FileName
    addresses: tuple[Address, ...] = ()
    sha256: Sha256 = ""

    @model_validator(mode="after")
    def _one_file_has_one_hash(self) -> "CardFile":
        if "*" in self.name and (self.addresses or self.sha256):
            raise ValueError(f"'{self.name}' stands for several files: no address, no sha256")
        return self


class CardTarget(_Part):
    """One property of a data set.

    Attributes:
        column: what the file calls it; dots lead into nested records.
        unit: the unit that the crystals get.
        source_unit: the unit in the file, where it is another one.
        sign: -1 where the file counts the other way, as VASP does for the stress.
        level, extensive: as of ``epitaxy.Target``.
        shape: of one crystal's, or one atom's, value; () for a number.
        about: what it is, in words.
    """

    column: str
    unit: str = ""
    source_unit: str | None = None
    sign: Literal[1, -1] = 1
    level: Literal["crystal", "atom"] = "crystal"
    extensive: bool = False
    shape: tuple[int, ...] = ()
    about: str = ""


class Reading(_Part):
    """How the files are read; what each form means stands in ``docs/datasets.md``.

    Attributes:
        form: the form of the files.
        structure: the column or key of the structure.
        id: the column or key that names a crystal; empty for the file's own key or row.
        records: the key of a JSON document under which its records lie.
        frames: of a trajectory, all frames or only the last, which is the relaxed one.
        members: which members of a zip archive hold structures.
        table: the CSV table of an archive, a member of it or a file beside it.
        pbc: which lattice vectors repeat, where the file does not say.
    """

    form: Form
    structure: str = "structure"
    id: str = ""
    records: str = ""
    frames: Literal["all", "last"] = "all"
    members: str = "*"
    table: str = ""
    pbc: tuple[bool, bool, bool] | None = None


class CardSplit(_Part):
    """How the field divides the data set, so that figures can be compared.

    ``kfold`` and ``stratified_kfold`` are scikit-learn's, shuffled with ``seed``, over the rows in
    the file's order; ``random`` draws train, validation and test at these fractions.
    """

    protocol: Literal["kfold", "stratified_kfold", "random"]
    folds: int = 5
    seed: int = 0
    seeds: int = 1
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)


class Card(_Part):
    """One data set of the catalogue.

    Attributes:
        entries: crystals in the files; 0 where it is not known.
        accept_licence: whether its terms have to be accepted before the first download.
        obtain: how to get the files where there is no address.
        files_of: another data set whose files these are, so that they lie there once.
        provider: base address of an OPTIMADE provider.
        query: what is asked of a provider or of the Materials Project.
        open_targets: whether other columns than those declared may be asked for.
    """

    name: Name
    title: str
    reading: Reading
    files: tuple[CardFile, ...] = Field(min_length=1)
    targets: Mapping[str, CardTarget] = Field(default_factory=dict)
    licence: str = ""
    accept_licence: bool = False
    doi: tuple[str, ...] = ()
    entries: int = Field(default=0, ge=0)
    split: CardSplit | None = None
    obtain: str = ""
    files_of: str = ""
    notes: tuple[str, ...] = ()
    provider: str = ""
    query: Mapping[str, Any] = Field(default_factory=dict)
    open_targets: bool = False

    @property
    def remote(self) -> bool:
        """Whether its crystals come out of a data base's answers instead of files."""
        return self.reading.form in ("optimade", "materials_project")

    @property
    def by_hand(self) -> bool:
        """Whether some file of it has no address."""
        return not self.remote and any(not file.addresses for file in self.files)

    @property
    def verified(self) -> bool:
        """Whether the hash of every file is known beforehand."""
        return not self.remote and all(file.sha256 for file in self.files)


def catalogue(cards: str | os.PathLike[str] | None = None) -> dict[str, Card]:
    """Return all cards by name: those shipped, those of ``EPITAXY_CARDS``, those of ``cards``.

    ``EPITAXY_CARDS`` holds paths of TOML files, separated as in ``PATH``. A later card replaces an
    earlier one of its name: so a mirror is declared. Raises CardError that names file and key.
    """
    named = [Path(text) for text in os.environ.get(CARDS_VARIABLE, "").split(os.pathsep) if text]
    found = dict(_cards_of(_SHIPPED, _SHIPPED.stat().st_mtime_ns))
    for path in (*named, *([Path(cards)] if cards else [])):
        if not path.is_file():
            raise CardError(f"there is no file of cards {path}.")
        found |= _cards_of(path.resolve(), path.stat().st_mtime_ns)
    return found


def card_named(name: str, cards: str | os.PathLike[str] | None = None) -> Card:
    """Return the card of a name; raises CardError that says which names are nearest."""
    known = catalogue(cards)
    if name in known:
        return known[name]
    raise CardError(f"no data set '{name}' is in the catalogue. {nearest_names(name, known)}")


def nearest_names(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """Return a sentence with the names next to one, and where all of them stand."""
    near = difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.5)
    near = near or [other for other in known if name and name.lower() in other][:3]
    meant = f"Did you mean {' or '.join(repr(one) for one in near)}? " if near else ""
    return f"{meant}`epitaxy data list` names them all."


def is_in_catalogue(name: str) -> bool:
    """Return whether a text names a data set of the catalogue."""
    return name.replace("_", "").isalnum() and name in catalogue()


@cache
def _cards_of(path: Path, changed: int) -> dict[str, Card]:
    del changed  # part of the cache's key only
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CardError(f"{path} cannot be read as TOML: {error}") from error
    return {name: _card(name, fields, path) for name, fields in content.items()}


def _card(name: str, fields: Any, path: Path) -> Card:
    if not isinstance(fields, dict):
        raise CardError(f"{path}: '{name}' is no table: write [{name}] and its fields below it.")
    try:
        return Card(name=name, **fields)
    except (ValidationError, TypeError) as error:
        if not isinstance(error, ValidationError):
            raise CardError(f"{path}, card '{name}': {error}") from error
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'the card'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise CardError(f"{path}, card '{name}': {faults}.") from error


def declared_targets(card: Card, texts: Sequence[str]) -> dict[str, CardTarget]:
    """Return the targets that are asked for, ``"name"`` or ``"name[unit]"``, as they are declared.

    Raises InputError for a name that the card does not have.
    """
    from epitaxy.units import parse_target

    found: dict[str, CardTarget] = {}
    for text in texts:
        name, unit = parse_target(text)
        if name in card.targets:
            found[name] = card.targets[name]
        elif card.open_targets:
            found[name] = CardTarget(column=name, unit=unit or "")
        else:
            near = difflib.get_close_matches(name, list(card.targets), n=1, cutoff=0.5)
            meant = f"Did you mean '{near[0]}'? " if near else ""
            has = ", ".join(card.targets) or "none"
            raise InputError(f"'{card.name}' has no target '{name}'. {meant}It has: {has}.")
    return found
