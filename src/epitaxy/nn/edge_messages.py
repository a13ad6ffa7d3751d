"""Attention over neighbors, in pieces that fit the cache and with nothing kept per edge."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import silu

from epitaxy.nn.contacts import Contacts

PIECE = 2**17  # contacts × width at a time: half a megabyte per array in single precision


def attend(
    query: Float[Tensor, "atoms width"],
    sent: Float[Tensor, "atoms four_widths"],
    vectors: Float[Tensor, "atoms 3 width"] | None,
    filters: Float[Tensor, "shells four_widths"],
    contacts: Contacts,
    heads: int,
    vector_envelope: bool,
) -> tuple[Float[Tensor, "atoms width"], Float[Tensor, "atoms 3 width"]]:
    """Return the sums over neighbors of scalar and vector messages.

    With (k, u, s, t)_j ``sent`` by the neighbor, filters d, envelope f and n edges in a contact:

        a = silu(Σ q_i k_j d^k) f          per head
        m_i = Σ_j n a u_j d^u
        w_i = Σ_j n v_j s_j d^s + t_j d^t Σ r̂

    and both terms of w times f where ``vector_envelope``. Arithmetic is in the precision of the
    geometry. A way back through the geometry is taken edge by edge; any other keeps nothing per
    contact and computes it again.
    """
    weight = contacts.count * contacts.envelope
    factor = contacts.envelope if vector_envelope else torch.ones_like(contacts.envelope)
    geometry = (weight, contacts.count * factor, contacts.direction * factor)
    dtype, width = weight.dtype, query.shape[1]
    # edges that are not merged have features of their own, loops at most excepted
    alone = len(filters) == len(contacts.center)
    features = (
        query.to(dtype),
        sent.to(dtype),
        None if vectors is None else vectors.to(dtype).flatten(1),
        filters.to(dtype),
    )
    with torch.autocast(query.device.type, enabled=False):
        if any(part.requires_grad for part in geometry):
            indices = (contacts.center, contacts.neighbor, None if alone else contacts.shell)
            summed = _attend_openly(*features, indices, geometry, heads)
        else:
            pairs = (contacts.center, contacts.neighbor, contacts.shell)
            summed = _Attend.apply(*features, pairs, geometry, heads)
    return summed[:, :width], summed[:, width:].unflatten(-1, (3, width))


def _attend_openly(query, sent, vectors, filters, indices, geometry, heads: int) -> Tensor:
    """Return (m ‖ w) by operations that PyTorch differentiates as often as needed."""
    center, neighbor, shell = indices
    weight, vector_weight, direction = geometry
    atoms, width = query.shape
    filters = filters if shell is None else filters.index_select(0, shell)
    parts = zip(
        sent.split([width, 3 * width], 1), filters.split([width, 3 * width], 1), strict=True
    )
    key, others = (by_atom[neighbor] * by_edge for by_atom, by_edge in parts)
    value, along_vector, along_edge = others.split(width, dim=-1)
    score = (query[center] * key).unflatten(-1, (heads, -1)).sum(-1)
    attention = (silu(score) * weight).unsqueeze(-1)
    scalars = (value.unflatten(-1, (heads, -1)) * attention).flatten(1)
    pushed = direction.unsqueeze(-1) * along_edge.unsqueeze(1)
    if vectors is not None:
        arrived = vectors[neighbor].unflatten(-1, (3, width))
        pushed = pushed + arrived * (along_vector * vector_weight).unsqueeze(1)
    summed = query.new_zeros(atoms, width).index_add(0, center, scalars)
    vectors_summed = query.new_zeros(atoms, 3 * width).index_add(0, center, pushed.flatten(1))
    return torch.cat([summed, vectors_summed], dim=-1)


class _Attend(torch.autograd.Function):
    """``_attend_openly`` in pieces, forward and backward; a second derivative opens it again."""

    @staticmethod
    def forward(ctx: Any, query, sent, vectors, filters, indices, geometry, heads: int) -> Tensor:
        ctx.save_for_backward(query, sent, vectors, filters)
        ctx.indices, ctx.geometry, ctx.heads = indices, geometry, heads
        atoms, width = query.shape
        summed = query.new_zeros(atoms, 4 * width)
        spread = _spread(query, heads)
        for center, neighbor, shell, weight, vector_weight, direction in _pieces(
            indices, geometry, width
        ):
            filtered = sent.index_select(0, neighbor).mul_(filters.index_select(0, shell))
            key, value, along_vector, along_edge = filtered.split(width, dim=-1)
            score = (query.index_select(0, center).mul_(key)) @ spread.T
            messages = torch.empty_like(filtered)
            torch.mul(value, silu(score).mul_(weight) @ spread, out=messages[:, :width])
            pushed = messages[:, width:].unflatten(-1, (3, width))
            torch.mul(along_edge.unsqueeze(1), direction.unsqueeze(-1), out=pushed)
            if vectors is not None:
                arrived = vectors.index_select(0, neighbor).unflatten(-1, (3, width))
                pushed.addcmul_(arrived, along_vector.mul_(vector_weight).unsqueeze(1))
            summed.index_add_(0, center, messages)
        return summed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        arguments = (*ctx.saved_tensors, ctx.indices, ctx.geometry, ctx.heads)
        find = _gradients_openly if torch.is_grad_enabled() else _gradients
        with torch.autocast(grads[0].device.type, enabled=False):
            gradients = find(grads[0].contiguous(), *arguments)
        return (*gradients, None, None, None)


def _gradients(grad, query, sent, vectors, filters, indices, geometry, heads: int):
    """Return the derivatives of (m ‖ w) by the four inputs, each contact's terms made anew."""
    width, spread = query.shape[1], _spread(query, heads)
    by_query, by_sent = torch.zeros_like(query), torch.zeros_like(sent)
    by_vectors = None if vectors is None else torch.zeros_like(vectors)
    by_filters = torch.zeros_like(filters)
    for center, neighbor, shell, weight, vector_weight, direction in _pieces(
        indices, geometry, width
    ):
        filter_, arrived = filters.index_select(0, shell), sent.index_select(0, neighbor)
        asked, above = query.index_select(0, center), grad.index_select(0, center)
        above_scalar, above_vector = above[:, :width], above[:, width:].unflatten(-1, (3, width))
        filtered = filter_ * arrived
        key, value, along_vector, _ = filtered.split(width, dim=-1)
        below = torch.zeros_like(filtered)

        score = (asked * key) @ spread.T
        gate = torch.sigmoid(score)
        by_score = (above_scalar * value) @ spread.T
        by_score = (by_score * weight * gate * (1 + score * (1 - gate))) @ spread
        torch.mul(asked, by_score, out=below[:, :width])
        by_query.index_add_(0, center, by_score.mul_(key))
        torch.mul(above_scalar, (score * gate * weight) @ spread, out=below[:, width : 2 * width])

        torch.sum(above_vector * direction.unsqueeze(-1), 1, out=below[:, 3 * width :])
        if vectors is not None and by_vectors is not None:
            moved = vectors.index_select(0, neighbor).unflatten(-1, (3, width)).mul_(above_vector)
            torch.mul(moved.sum(1), vector_weight, out=below[:, 2 * width : 3 * width])
            pulled = above_vector * along_vector.mul_(vector_weight).unsqueeze(1)
            by_vectors.index_add_(0, neighbor, pulled.flatten(1))

        by_filters.index_add_(0, shell, arrived.mul_(below))
        by_sent.index_add_(0, neighbor, filter_.mul_(below))
    return by_query, by_sent, by_vectors, by_filters


def _gradients_openly(grad, query, sent, vectors, filters, indices, geometry, heads: int):
    """Return the same derivatives as a differentiable function of inputs and ``grad``."""
    inputs = (query, sent, vectors, filters)
    parts = [None if part is None else part.view_as(part) for part in inputs]
    summed = _attend_openly(parts[0], parts[1], parts[2], parts[3], indices, geometry, heads)
    wanted = [part for part in parts if part is not None and part.requires_grad]
    found = iter(torch.autograd.grad(summed, wanted, grad, create_graph=True))
    return [None if part is None or not part.requires_grad else next(found) for part in parts]


def _pieces(indices, geometry, width: int):
    """Return the contacts' arrays cut into pieces; one piece where there is no cache to fit."""
    length = max(PIECE // width, 1) if indices[0].device.type == "cpu" else len(indices[0])
    return zip(*(part.split(max(length, 1)) for part in (*indices, *geometry)), strict=True)


def _spread(query: Tensor, heads: int) -> Float[Tensor, "heads width"]:
    """Return the matrix that hands a head's number to its channels; its transpose sums them."""
    one = torch.eye(heads, dtype=query.dtype, device=query.device)
    return one.repeat_interleave(query.shape[1] // heads, dim=1)
