"""Grids of recipe keys: their cells, the cells' names, and all that does not fit at once."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from epitaxy.errors import EpitaxyError, did_you_mean
from epitaxy.evaluation.study.specification import Study, grid_keys

PARTS = ("pretraining", "finetuning", "backbone")  # how the keys of a study's own grid begin
PAPERS = "paper_"  # how the names of recipes begin that follow a publication
Found = TypeVar("Found")


class Problems(list[str]):
    """What does not fit, gathered so that all of it can be told at once."""

    def check(self, where: str, work: Callable[[], Found]) -> Found | None:
        """Return what the work returns; None, and a problem the more, where it fails."""
        try:
            return work()
        except (EpitaxyError, OSError) as error:
            self.extend(f"{where}: {line}" for line in str(error).splitlines())
            return None


def cell_name(base: str, values: Mapping[str, Any]) -> str:
    """Return the name of one cell of a grid.

    >>> cell_name("denoise", {"objectives.0.sigma": 0.1, "backbone": {"name": "cgcnn"}})
    'denoise [sigma=0.1, cgcnn]'
    """
    told = ", ".join(in_words(key, value) for key, value in values.items())
    return f"{base} [{told}]" if told else base


def named_cells(base: str, cells: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the cells of a grid by name; those that would be called alike are written out."""
    names = [cell_name(base, cell) for cell in cells]
    return {
        name if names.count(name) == 1 else f"{base} [{_in_full(cell)}]": cell
        for name, cell in zip(names, cells, strict=True)
    }


def in_words(key: str, value: Any) -> str:
    """Return a value of a grid as names of rows tell it.

    >>> in_words("objectives", [{"name": "denoise", "sigma": 0.1}, {"name": "masked"}])
    'denoise sigma=0.1 + masked'
    """
    if isinstance(value, Mapping):
        words = [str(value[one]) for one in ("name", "preset") if one in value]
        rest = {k: v for k, v in value.items() if k not in ("name", "preset")}
        return " ".join([*words, *(in_words(k, v) for k, v in rest.items())])
    if isinstance(value, list | tuple) and all(isinstance(one, Mapping) for one in value):
        return " + ".join(in_words(key, one) for one in value)
    if isinstance(value, str):
        return value
    return f"{key.rpartition('.')[2]}={json.dumps(value)}"


def shared_grid(
    study: Study, part: Literal["pretraining", "finetuning"], problems: Problems
) -> dict[str, list[Any]]:
    """Return what the study's own grid says of all pre-trainings, or of all fine-tunings."""
    grid = problems.check("grid", lambda: grid_keys(study.grid)) or {}
    found = {}
    for key, values in grid.items():
        head, _, rest = key.partition(".")
        if head == part and rest:
            found[rest] = values
        elif head == "backbone":
            if part == "pretraining" or not study.pretrainings:
                found[key] = values
        elif head not in PARTS[:2] and part == "pretraining":
            problems.append(
                f"grid: the key '{key}' begins with none of {', '.join(PARTS)}. "
                f"{did_you_mean(head, PARTS)}"
            )
    return found


def column(part: str, key: str) -> str:
    """Return what the records call a key of a recipe of the pre-training, or the fine-tuning."""
    return key if key.partition(".")[0] == "backbone" else f"{part}.{key}"


def beside(home: Path, name: str) -> str:
    """Return a path beside the study's file if there is something; else the name as it is."""
    return str(home / name) if (home / name).exists() else name


def _in_full(cell: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={json.dumps(value)}" for key, value in cell.items())
