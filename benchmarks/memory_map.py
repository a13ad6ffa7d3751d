"""Open a million crystals from disk and draw batches: time and resident memory."""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.exchange import open_arrow, write_arrow
from epitaxy.crystals.targets import Target


def small_crystals(count: int, seed: int = 0) -> Crystals:
    """Return random cells of 4–16 atoms with one energy each and a force on every atom."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(4, 17, (count,), generator=generator)
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    atoms = int(offsets[-1])
    return Crystals(
        numbers=torch.randint(1, 90, (atoms,), generator=generator),
        positions=torch.rand(atoms, 3, generator=generator) * 6,
        cell=torch.eye(3).expand(count, 3, 3) * 6,
        pbc=torch.ones(count, 3, dtype=torch.bool),
        offsets=offsets,
        targets={
            "energy": Target(torch.randn(count, generator=generator), "crystal", "eV", True),
            "forces": Target(torch.randn(atoms, 3, generator=generator), "atom", "eV/Å"),
        },
        ids=[f"crystal-{index}" for index in range(count)],
    )


def resident_megabytes() -> tuple[float, float]:
    """Return what this process holds of its own, and what it has seen of mapped files (Linux).

    Pages of mapped files belong to the system's cache: it takes them back when memory runs short.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines if line.startswith("Rss"))
    own, mapped = (int(found[name].split()[0]) / 1e3 for name in ("RssAnon", "RssFile"))
    return own, mapped


def measure(path: Path, batches: int, batch_size: int) -> None:
    """Print the size of the file, the time to open it, and that of random batches."""
    own, mapped = resident_megabytes()
    started = time.perf_counter()
    crystals = open_arrow(path)
    opened = time.perf_counter() - started
    own_opened, mapped_opened = resident_megabytes()
    generator = torch.Generator().manual_seed(1)
    times = []
    for _ in range(batches):
        chosen = torch.randint(len(crystals), (batch_size,), generator=generator)
        started = time.perf_counter()
        crystals[chosen]
        times.append(time.perf_counter() - started)
    print(f"crystals               {len(crystals):>12,}")
    print(f"file                   {path.stat().st_size / 1e6:>12,.1f} MB")
    print(f"open                   {opened * 1e3:>12,.2f} ms")
    print(f"batch of {batch_size:<4} median    {statistics.median(times) * 1e3:>12,.3f} ms")
    print(f"batch of {batch_size:<4} slowest   {max(times) * 1e3:>12,.3f} ms")
    print("resident memory, grown by opening")
    print(f"  own                  {own_opened - own:>12,.1f} MB")
    print(f"  pages of the file    {mapped_opened - mapped:>12,.1f} MB")
    own_used, mapped_used = resident_megabytes()
    print(f"and by {batches} random batches")
    print(f"  own                  {own_used - own_opened:>12,.1f} MB")
    print(f"  pages of the file    {mapped_used - mapped_opened:>12,.1f} MB")


def main() -> None:
    """Write the file in a process of its own, so that its memory does not count; then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crystals", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.arrow"
        writer = os.fork()
        if writer == 0:
            torch.set_num_threads(1)
            write_arrow(small_crystals(arguments.crystals), path)
            os._exit(0)
        os.waitpid(writer, 0)
        with path.open("rb") as file:  # start cold: the pages just written leave the cache
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        measure(path, arguments.batches, arguments.batch_size)


if __name__ == "__main__":
    main()
