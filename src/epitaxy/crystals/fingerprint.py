"""A fingerprint of crystals that depends on what they are, not on the file they came from."""

import hashlib

import torch
from torch import Tensor

from epitaxy.crystals.crystals import Crystals

_CHUNK = 1 << 20


def fingerprint(crystals: Crystals) -> str:
    """Return the SHA-256 of structures, ids, targets and inputs, in their order, as 64 hex digits.

    Equal for the same crystals out of Parquet, ``.arrow`` or memory; the order of the targets and
    the width of integers do not count, the precision of floating-point arrays does.
    """
    digest = hashlib.sha256()
    for name in ("numbers", "offsets", "pbc", "cell", "positions"):
        digest.update(name.encode())
        _update(digest, getattr(crystals, name))
    for text in crystals.ids:
        digest.update(f"{len(text)}:{text}".encode())
    for name, target in sorted(crystals.targets.items()):
        digest.update(f"target {name} {target.level} {target.unit} {target.extensive}".encode())
        _update(digest, target.values)
    for name, values in sorted(crystals.inputs.items()):
        digest.update(f"input {name}".encode())
        _update(digest, values)
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", values: Tensor) -> None:
    kind = str(values.dtype) if values.is_floating_point() else "integer"
    digest.update(f"{kind} {tuple(values.shape)}".encode())
    flat = values.detach().reshape(-1)
    for start in range(0, len(flat), _CHUNK):
        chunk = flat[start : start + _CHUNK].cpu()
        if chunk.is_floating_point():  # one bit pattern for every NaN, one for zero
            chunk = torch.where(torch.isnan(chunk), torch.nan, chunk) + 0.0
        else:
            chunk = chunk.to(torch.int64)
        digest.update(chunk.numpy().tobytes())
