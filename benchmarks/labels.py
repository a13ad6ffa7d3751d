"""What making a fingerprint's labels costs beside a pre-training step of the paper-sized network.

``python benchmarks/labels.py [crystals.parquet]`` takes batches of 32 crystals of the file, by
default of those that come with the package. ``view`` is all that is made of a batch before the
network sees it: one neighbor list, the network's graph cut from it, fingerprints, scaled labels;
``labels`` is what a view takes more than one without labels. ``step`` is forward, backward, AdamW.
Medians of processor time on one thread.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from backbones import BUNDLED

from epitaxy.crystals.arrow import read_parquet
from epitaxy.objectives import Composition, Fingerprint
from epitaxy.registry import find
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import graph_builder, seeded_generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parquet", nargs="?", type=Path, default=BUNDLED)
    parser.add_argument("--backbone", default="torchmd_et")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--atoms", type=int, default=60, help="largest cell")
    choices = parser.parse_args()
    torch.set_num_threads(1)
    crystals = read_parquet(choices.parquet, targets=[]).to(dtype=torch.float32)
    crystals = crystals[crystals.atom_counts <= choices.atoms]
    order = torch.randperm(len(crystals), generator=seeded_generator("crystals"))
    backbone = find("backbones", choices.backbone).preset(choices.preset)
    print(f"{choices.parquet.name}, {choices.backbone} {choices.preset}, batches of 32 crystals")
    print("labels       atoms  list+graph+labels  of it labels     step   labels/whole  view/whole")
    for descriptor in ("wacsf", "ead", "gmp"):
        settings = {"name": descriptor, "preset": "set1"}
        objective = Fingerprint(descriptor=settings, sample=200)
        builder = graph_builder(backbone, [objective])
        objective = objective.prepare(crystals, builder, seeded_generator("fit"))
        head = objective.head(backbone)
        optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=1e-5)
        bare_builder = graph_builder(backbone, [Composition()])
        rows = []
        for number, chosen in enumerate(order.split(32)[: choices.batches + 1]):
            batch = crystals[chosen]
            began = time.process_time()
            view = objective.view(batch, builder, seeded_generator(number))
            viewed = time.process_time()
            bare_builder(batch)
            bare = time.process_time()
            optimizer.zero_grad()
            objective.loss(Encoder(backbone), head, view)["loss"].backward()
            optimizer.step()
            stepped = time.process_time()
            made = viewed - began
            labels, step = made - (bare - viewed), stepped - bare
            rows.append((batch.atom_total, made, labels, step, labels / (made + step)))
        atoms, made, labels, step, share = (
            statistics.median(column) for column in zip(*rows[1:], strict=True)
        )
        print(
            f"{descriptor:10s} {atoms:7.0f} {1e3 * made:15.1f} ms {1e3 * labels:10.1f} ms "
            f"{1e3 * step:8.0f} ms {share:12.1%} {made / (made + step):11.1%}"
        )


if __name__ == "__main__":
    main()
