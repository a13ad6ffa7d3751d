"""The checks of objectives find what is broken."""

from dataclasses import replace

import pytest
import torch

from epitaxy.backbones.torchmd_et import TorchMDET
from epitaxy.crystals.targets import Target
from epitaxy.objectives import Composition, Denoise
from epitaxy.objectives.base import View
from epitaxy.testing import check_objective
from epitaxy.testing.backbones import shaken_copy
from epitaxy.testing.objectives import OBJECTIVE_CHECKS, Lesson, some_crystals

SMALL = {"width": 8, "layers": 2, "heads": 2, "radial": 6, "cutoff": 4.0}
IDLE = ["backbone.attention.0.vector_mix.weight"]


class Relabeled(Composition):
    """Composition, with other labels."""

    def view(self, crystals, build_graph, generator):
        view = super().view(crystals, build_graph, generator)
        label = view.labels["composition"]
        return replace(view, labels={"composition": self.changed(label, crystals, generator)})


class Oriented(Relabeled):
    def changed(self, label, crystals, generator):
        first = crystals.positions[crystals.offsets[:-1], :1]
        return label.with_values(label.values + first)


class ShortOfRows(Relabeled):
    def changed(self, label, crystals, generator):
        return Target(label.values, level="atom")


class HidesChance(Relabeled):
    def changed(self, label, crystals, generator):
        return label.with_values(torch.rand(label.values.shape, generator=generator).double())


class TakesChanceFromNowhere(Relabeled):
    def changed(self, label, crystals, generator):
        return label.with_values(torch.rand(label.values.shape).double())


class HasNoChance(Composition):
    chance = True


class Spoils(Composition):
    def view(self, crystals, build_graph, generator):
        view = super().view(crystals, build_graph, generator)
        crystals.positions.add_(1.0)
        return view


class KeepsTensors(Composition):
    def prepare(self, crystals, build_graph, generator):
        fitted = super().prepare(crystals, build_graph, generator).fitted
        return self.with_fitted({"mean": fitted["mean"], "more": torch.zeros(1)})


class Invents(Composition):
    def view(self, crystals, build_graph, generator):
        view = super().view(crystals, build_graph, generator)
        return View(view.graphs, view.labels, skipped=("nobody",))


class OtherLoss(Composition):
    def loss(self, encode, head, view):
        figures = super().loss(encode, head, view)
        return {**figures, **self.changed(figures, encode, view)}


class SeesOrientation(OtherLoss):
    def changed(self, figures, encode, view):
        highest = view.graphs[0].crystals.cell[:, :, 2].abs().max()
        return {"loss": figures["loss"] * highest}


class Detached(OtherLoss):
    def loss(self, encode, head, view):
        encoding = encode(view.graphs[0])
        still = replace(encoding, nodes=encoding.nodes.detach())
        return super().loss(lambda graph, alter=None: still, head, view)

    def changed(self, figures, encode, view):
        return {}


class Climbs(OtherLoss):
    def changed(self, figures, encode, view):
        return {"loss": 2 * figures["loss"].detach() - figures["loss"]}


class LogsInfinity(OtherLoss):
    def changed(self, figures, encode, view):
        return {"ratio": figures["loss"].detach() / 0.0}


BROKEN = [
    (Oriented, "rotation", "the labels 'composition' depend on a rotation"),
    (ShortOfRows, "view", "'composition' has not one row per atom"),
    (HidesChance, "seed", "views differ, though there is no chance"),
    (TakesChanceFromNowhere, "seed", "depend on something besides the seed"),
    (HasNoChance, "seed", "views of two seeds are the same"),
    (Spoils, "inputs", "an input has changed"),
    (KeepsTensors, "constants", "cannot be written as JSON"),
    (Invents, "view", "'nobody' is skipped and was never there"),
    (SeesOrientation, "rotation", "the loss depends on a rotation"),
    (Detached, "gradients", "no gradient reaches backbone"),
    (Climbs, "learning", "the loss went from"),
    (LogsInfinity, "figures", "'ratio' is not finite"),
]


def lesson(objective):
    torch.manual_seed(0)
    return Lesson.of(objective, shaken_copy(TorchMDET(**SMALL)).train(), some_crystals(), IDLE)


@pytest.mark.parametrize(("cls", "check", "complaint"), BROKEN)
def test_a_broken_objective_is_found(cls, check, complaint):
    with pytest.raises(AssertionError, match=complaint):
        OBJECTIVE_CHECKS[check](lesson(cls()))


@pytest.mark.parametrize("check", OBJECTIVE_CHECKS)
def test_a_whole_objective_passes(check):
    OBJECTIVE_CHECKS[check](lesson(Composition()))


def test_l1_on_components_sees_the_orientation():
    """The reason why vector losses with L1 leave the rotation out."""
    with pytest.raises(AssertionError, match="the loss depends on a rotation"):
        OBJECTIVE_CHECKS["rotation"](lesson(Denoise(loss_kind="l1")))
    OBJECTIVE_CHECKS["rotation"](lesson(Denoise(loss_kind="l2")))


def test_an_exception_has_to_be_one():
    backbone = TorchMDET(**SMALL)
    with pytest.raises(AssertionError, match="names nothing that no gradient reaches"):
        check_objective(Composition, backbone, unreached=[*IDLE, "backbone.norm.*"])
    with pytest.raises(AssertionError, match="no gradient reaches backbone"):
        check_objective(Composition, backbone)


def test_a_check_that_does_not_exist_cannot_be_skipped():
    with pytest.raises(ValueError, match="Did you mean 'rotation'"):
        check_objective(Composition, lambda: TorchMDET(**SMALL), skip=["rotatoin"])
