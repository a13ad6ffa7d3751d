import torch

from epitaxy.backbones.base import Embedding
from epitaxy.nn.masking import MaskTokens


def embedding(neighbors=True):
    return Embedding(
        nodes=torch.randn(4, 3),
        edges=torch.randn(5, 2),
        neighbor_nodes=torch.randn(4, 3) if neighbors else None,
    )


def test_masked_rows_are_tokens_and_the_others_stay():
    tokens, given = MaskTokens(3), embedding()
    torch.nn.init.ones_(tokens.node)
    torch.nn.init.constant_(tokens.neighbor_node, 2.0)
    masked = torch.tensor([True, False, False, True])
    found = tokens(given, masked)
    assert bool((found.nodes[masked] == 1).all())
    assert bool((found.neighbor_nodes[masked] == 2).all())
    assert torch.equal(found.nodes[~masked], given.nodes[~masked])
    assert torch.equal(found.neighbor_nodes[~masked], given.neighbor_nodes[~masked])
    assert found.edges is given.edges


def test_a_backbone_without_a_second_embedding_gets_none():
    found = MaskTokens(3)(embedding(neighbors=False), torch.ones(4, dtype=torch.bool))
    assert found.neighbor_nodes is None


def test_tokens_learn():
    tokens = MaskTokens(3)
    found = tokens(embedding(), torch.tensor([True, False, True, False]))
    (found.nodes.sum() + found.neighbor_nodes.sum()).backward()
    assert torch.equal(tokens.node.grad, torch.full((3,), 2.0))
    assert torch.equal(tokens.neighbor_node.grad, torch.full((3,), 2.0))
