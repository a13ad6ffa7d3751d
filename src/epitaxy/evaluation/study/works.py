"""The pieces of work that a study is made of, each in a folder that is named by its content."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from epitaxy.evaluation.fits import JOB_FILE, RESULT_FILE, Job
from epitaxy.evaluation.study.origins import Origin
from epitaxy.training.callbacks import METRICS_FILE
from epitaxy.training.files import write_json
from epitaxy.training.recipe import Recipe
from epitaxy.training.run import MANIFEST_FILE

FAILURE_FILE = "failed.json"
BESIDE_THE_POINT = ("resume_minutes", "cache_edges", "workers", "loggers")  # same result anyway


@dataclass(frozen=True, eq=False)
class Work(ABC):
    """What a worker process does at once.

    Attributes:
        name: for whoever waits.
        folder: where everything of it goes.
        cost: how long it takes in comparison with others of its group.
        group: works whose times are alike but for their cost.
    """

    kind: ClassVar[str] = ""

    name: str
    folder: Path
    cost: float
    group: str

    @property
    def key(self) -> str:
        """What tells it from every other piece of work."""
        return str(self.folder)

    @property
    def result_file(self) -> Path:
        """The file that is there when it is done."""
        return self.folder / RESULT_FILE

    @property
    def done(self) -> bool:
        """Whether it has ended well."""
        return self.result_file.is_file()

    @property
    def result(self) -> dict[str, Any]:
        """What the worker wrote."""
        return json.loads(self.result_file.read_text(encoding="utf-8"))

    @property
    def seconds(self) -> float:
        """What it took, once it is done; zero where that is not known."""
        return float(self.result.get("seconds", 0.0))

    def how_far(self) -> str:
        """Return where a training under way is, if it says so."""
        file = self.folder / METRICS_FILE
        if not file.is_file():
            return ""
        *_, last = file.read_text(encoding="utf-8").splitlines() or ["{}"]
        return f", epoch {json.loads(last).get('epoch', 0)}"

    @abstractmethod
    def write(self) -> Path:
        """Write the order for a worker, and return the file's path."""

    def _ordered(self, file: str, values: Mapping[str, Any]) -> Path:
        write_json(self.folder / file, {"kind": self.kind, **values})
        return (self.folder / file).absolute()


@dataclass(frozen=True, eq=False)
class PretrainingWork(Work):
    """A pre-training; ``crystals`` is the file of its data, as ``write_arrow`` wrote them."""

    kind: ClassVar[str] = "pretraining"

    recipe: Recipe
    crystals: Path

    @property
    def done(self) -> bool:
        """Whether its manifest says that it has ended."""
        file = self.folder / MANIFEST_FILE
        return file.is_file() and json.loads(file.read_text())["status"] == "finished"

    @property
    def result(self) -> dict[str, Any]:
        """Return its manifest."""
        return json.loads((self.folder / MANIFEST_FILE).read_text(encoding="utf-8"))

    def write(self) -> Path:
        """Write the order beside the folder, which belongs to the run alone."""
        file = self.folder.with_name(f"{self.folder.name}.json")
        values = {
            "kind": self.kind,
            "recipe": self.recipe.model_dump(mode="json"),
            "crystals": str(self.crystals.absolute()),
            "folder": str(self.folder.absolute()),
        }
        write_json(file, values)
        return file.absolute()


@dataclass(frozen=True, eq=False)
class FitWork(Work):
    """A fine-tuning, or a training from scratch, with one setting; see ``evaluation.fits``."""

    kind: ClassVar[str] = "fit"

    job: Job

    def write(self) -> Path:
        """Write the job."""
        return self.job.write()


@dataclass(frozen=True, eq=False)
class BaselineWork(Work):
    """A contender without a network, fitted and tested at once."""

    kind: ClassVar[str] = "baseline"

    order: Mapping[str, Any]

    def write(self) -> Path:
        """Write the order."""
        return self._ordered(JOB_FILE, self.order)


@dataclass(frozen=True, eq=False)
class PredictionWork(Work):
    """The test predictions of a fit that was chosen."""

    kind: ClassVar[str] = "prediction"

    crystals: Path
    test: tuple[int, ...]
    test_digest: str

    @property
    def key(self) -> str:
        """Return the file of the result: the folder is the fit's."""
        return str(self.result_file)

    @property
    def result_file(self) -> Path:
        """The predictions of these very crystals."""
        return self.folder / f"test-{self.test_digest}.json"

    def write(self) -> Path:
        """Write which crystals are to be predicted."""
        order = {
            "crystals": str(self.crystals.absolute()),
            "test": self.test,
            "result": self.result_file.name,
        }
        return self._ordered("predict.json", order)


@dataclass(frozen=True, eq=False)
class MapWork(Work):
    """The places of a task's crystals in a plane, by a representation that is not fine-tuned."""

    kind: ClassVar[str] = "map"

    order: Mapping[str, Any]
    task: str
    label: str
    origin: Origin

    def write(self) -> Path:
        """Write the order."""
        return self._ordered(JOB_FILE, self.order)


def digest(value: Any) -> str:
    """Return 16 hex digits that stand for a value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def what_counts(recipe: Recipe) -> dict[str, Any]:
    """Return the keys of a recipe that a result depends on; its data are told by themselves.

    Defaults are left out, so that a key which is new in the package changes nothing.
    """
    without: Any = {"name": True, "data": True, "training": set(BESIDE_THE_POINT)}
    return recipe.model_dump(mode="json", exclude=without, exclude_defaults=True)


def pretraining_digest(origin: Origin, data: str) -> str:
    """Return the name of the folder of a pre-training on data of this fingerprint."""
    assert origin.recipe is not None
    validation = origin.recipe.data.validation
    return digest(["pretraining", what_counts(origin.recipe), validation, data])


def failure_of(work: Work) -> str:
    """Return why a piece of work failed when it was tried last; an empty text if it did not."""
    file = _failure_file(work)
    return json.loads(file.read_text(encoding="utf-8"))["reason"] if file.is_file() else ""


def note_failure(work: Work, reason: str) -> None:
    """Write down why a piece of work failed, or that it did not."""
    file = _failure_file(work)
    if reason:
        write_json(file, {"reason": reason})
    else:
        file.unlink(missing_ok=True)


def _failure_file(work: Work) -> Path:
    if isinstance(work, PretrainingWork):
        return work.folder.with_name(f"{work.folder.name}.{FAILURE_FILE}")
    return work.folder / FAILURE_FILE
