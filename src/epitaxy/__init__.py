"""Crystal-property models grown on a pre-trained substrate.

import epitaxy as ep
run = ep.pretrain("quickstart")
model = ep.finetune("crystals/", target="band_gap[eV]", from_=run)
table = ep.predict(model, "new/")
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epitaxy.benchmarking import benchmark as benchmark
    from epitaxy.crystals.crystals import Crystals as Crystals
    from epitaxy.crystals.graph import Graph as Graph
    from epitaxy.crystals.neighbors import build_graph as build_graph
    from epitaxy.crystals.targets import Target as Target
    from epitaxy.datasets.audit import audit as audit
    from epitaxy.datasets.catalogue import load_dataset as load_dataset
    from epitaxy.datasets.generate.write import generate as generate
    from epitaxy.datasets.readers import read_crystals as read_crystals
    from epitaxy.datasets.readers import read_with_report as read_with_report
    from epitaxy.datasets.splits import read_splits as read_splits
    from epitaxy.datasets.splitting import split_crystals as split  # noqa: F401
    from epitaxy.experiments import compare as compare
    from epitaxy.probing import probe as probe
    from epitaxy.report.folder import report_folder as report_folder
    from epitaxy.training.checkpoint import load_model as load  # noqa: F401
    from epitaxy.training.embed import embed as embed
    from epitaxy.training.embed import with_representations as with_representations
    from epitaxy.training.finetune import finetune as finetune
    from epitaxy.training.predict import predict as predict
    from epitaxy.training.pretrain import pretrain as pretrain

try:
    __version__ = version("epitaxy")
except PackageNotFoundError:
    __version__ = "unknown"

# Loaded on first use, so that `import epitaxy` does not wait for torch.
_HOMES = {
    "Crystals": ("epitaxy.crystals.crystals", "Crystals"),
    "Graph": ("epitaxy.crystals.graph", "Graph"),
    "Target": ("epitaxy.crystals.targets", "Target"),
    "audit": ("epitaxy.datasets.audit", "audit"),
    "benchmark": ("epitaxy.benchmarking", "benchmark"),
    "build_graph": ("epitaxy.crystals.neighbors", "build_graph"),
    "compare": ("epitaxy.experiments", "compare"),
    "embed": ("epitaxy.training.embed", "embed"),
    "finetune": ("epitaxy.training.finetune", "finetune"),
    "generate": ("epitaxy.datasets.generate.write", "generate"),
    "load": ("epitaxy.training.checkpoint", "load_model"),
    "load_dataset": ("epitaxy.datasets.catalogue", "load_dataset"),
    "predict": ("epitaxy.training.predict", "predict"),
    "pretrain": ("epitaxy.training.pretrain", "pretrain"),
    "probe": ("epitaxy.probing", "probe"),
    "read_with_report": ("epitaxy.datasets.readers", "read_with_report"),
    "read_splits": ("epitaxy.datasets.splits", "read_splits"),
    "split": ("epitaxy.datasets.splitting", "split_crystals"),
    "read_crystals": ("epitaxy.datasets.readers", "read_crystals"),
    "report_folder": ("epitaxy.report.folder", "report_folder"),
    "with_representations": ("epitaxy.training.embed", "with_representations"),
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'epitaxy' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
