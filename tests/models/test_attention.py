from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from brpnas.lowrank import Choice, Factors, find_layers, replace
from brpnas.models.attention import Attention, open_attention

WIDTH, HEADS, TOKENS = 12, 3, 7


def attention(**options: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    return nn.MultiheadAttention(WIDTH, HEADS, **options).eval()


def opened(module: nn.Module) -> nn.Module:
    return open_attention(copy.deepcopy(module))


HIDDEN = torch.ones(TOKENS, TOKENS).triu(1)
CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no weights": {"need_weights": False},
    "each head's weights": {"average_attn_weights": False},
    "hidden": {"attn_mask": HIDDEN.bool(), "is_causal": True},
    "added": {"attn_mask": -HIDDEN},
    "of each head": {"attn_mask": torch.randn(2 * HEADS, TOKENS, TOKENS)},
    "padded": {"key_padding_mask": torch.arange(TOKENS).expand(2, -1) > 4},
    "both": {
        "attn_mask": HIDDEN.bool(),
        "key_padding_mask": torch.arange(TOKENS).expand(2, -1) > 4,
    },
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bias": False}])
def test_same_as_before(call: str, options: dict[str, bool]) -> None:
    before = attention(**options)
    after = opened(before)
    assert type(after) is Attention
    x = torch.randn(2, TOKENS, WIDTH)
    x = x if options.get("batch_first") else x.transpose(0, 1)
    y = torch.randn_like(x)
    for inputs in ((x, x, x), (x, y, y), (x, y, x)):
        for one, other in zip(after(*inputs, **CALLS[call]), before(*inputs, **CALLS[call])):  # noqa: B905
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other)


def test_without_a_batch() -> None:
    before = attention()
    x = torch.randn(TOKENS, WIDTH)
    for one, other in zip(opened(before)(x, x, x), before(x, x, x), strict=True):
        torch.testing.assert_close(one, other)


def test_as_before_in_training_where_nothing_is_dropped_and_copied() -> None:
    before = attention(batch_first=True).train()
    after = copy.deepcopy(opened(before))
    assert after.training
    assert set(after.state_dict()) == {
        f"{part}_proj.{kind}" for part in ("in", "out") for kind in ("weight", "bias")
    }
    x = torch.randn(2, TOKENS, WIDTH)
    torch.testing.assert_close(after(x, x, x)[0], before(x, x, x)[0])


def test_what_sees_no_key_is_zero_as_before() -> None:
    before, x = attention(batch_first=True), torch.randn(2, TOKENS, WIDTH)
    hidden = torch.tensor([[True], [False]]).expand(2, TOKENS)
    call = {"key_padding_mask": hidden, "need_weights": False}
    with torch.no_grad():
        wanted = before(x, x, x, **call)[0]
        assert wanted.isfinite().all()
        torch.testing.assert_close(opened(before)(x, x, x, **call)[0], wanted)


class _Reads(nn.Module):
    """Reads the weights itself, as if they were its own."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = attention()

    def forward(self, x: Tensor) -> Tensor:
        a, x = self.attention, x.transpose(0, 1)
        scores, _ = nn.functional.multi_head_attention_forward(
            *(x, x, x, a.embed_dim, a.num_heads, a.in_proj_weight, a.in_proj_bias, a.bias_k),
            *(a.bias_v, a.add_zero_attn, a.dropout, a.out_proj.weight, a.out_proj.bias, False),
        )
        return scores.mean(0)


def test_modules_that_read_the_weights_still_do() -> None:
    model, x = _Reads(), torch.randn(2, TOKENS, WIDTH)
    wanted = model(x)
    after = open_attention(model)
    assert torch.equal(after(x), wanted)
    layers = find_layers(after, x)
    assert not layers.shapes
    assert layers.left["attention.in_proj"].startswith("never called")


def pruned() -> nn.Module:
    module = attention()
    prune.l1_unstructured(module.out_proj, "weight", 0.5)  # type: ignore[no-untyped-call]
    return module


def normed() -> nn.Module:
    module = attention()
    parametrizations.weight_norm(module.out_proj)
    return module


@pytest.mark.parametrize(
    "module",
    [
        pruned(),
        normed(),
        nn.MultiheadAttention(WIDTH, HEADS, kdim=5),
        nn.MultiheadAttention(WIDTH, HEADS, add_bias_kv=True),
        nn.MultiheadAttention(WIDTH, HEADS, add_zero_attn=True),
        type("Own", (nn.MultiheadAttention,), {})(WIDTH, HEADS),
        nn.Linear(3, 4),
    ],
)
def test_others_stay(module: nn.Module) -> None:
    assert open_attention(module) is module
    held = nn.Sequential(module)
    assert open_attention(held) is held
    assert held[0] is module


def test_one_that_is_held_twice_stays_one() -> None:
    module = attention()
    held = nn.ModuleList([module, module])
    assert open_attention(held) is held
    assert isinstance(held[0], Attention)
    assert held[0] is held[1]


class _Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(x.flatten(2).transpose(1, 2)).mean(1))
        return scores


def test_projections_of_an_encoder_are_replaced() -> None:
    model, x = _Tokens().eval(), torch.randn(3, WIDTH, 2, 4)
    with torch.no_grad():
        wanted = model(x)
        after = open_attention(model)
        torch.testing.assert_close(after(x), wanted)
    layers = find_layers(after, x[:1])
    assert not layers.left
    name = "body.layers.0.self_attn"
    assert {f"{name}.in_proj", f"{name}.out_proj", "body.layers.0.linear1"} < set(layers.shapes)
    full = Choice.parse(f"plain:r{WIDTH}")
    chosen = {f"{name}.in_proj": full, f"{name}.out_proj": full}
    smaller, _ = replace(after, chosen, Factors(after, layers, "plain"))
    with torch.no_grad():
        torch.testing.assert_close(smaller(x), wanted, atol=1e-5, rtol=1e-5)
