"""Attention processors: the same results as diffusers'."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0

from hummingbird.models.attention import FusedAttention, SharedTextAttention


@pytest.mark.parametrize("inner", [None, AttnProcessor2_0()], ids=["chosen", "given"])
def test_it_equals_attention_to_a_text_repeated_for_each_frame(inner: object) -> None:
    torch.manual_seed(0)
    attn = Attention(query_dim=24, cross_attention_dim=12, heads=3, dim_head=8)
    videos, frames = 2, 5
    hidden = torch.randn(videos * frames, 16, 24, requires_grad=True)
    text = torch.randn(videos, 7, 12, requires_grad=True)
    repeated = AttnProcessor2_0()(attn, hidden, text.repeat_interleave(frames, dim=0))
    expected = torch.autograd.grad(repeated.square().sum(), (hidden, text))

    attn.set_processor(SharedTextAttention(inner))
    shared = attn(hidden, encoder_hidden_states=text)
    torch.testing.assert_close(shared, repeated, atol=1e-6, rtol=1e-5)
    for found, gradient in zip(torch.autograd.grad(shared.square().sum(), (hidden, text)), expected, strict=True):
        torch.testing.assert_close(found, gradient, atol=1e-5, rtol=1e-4)


def test_fused_attention_equals_diffusers() -> None:
    torch.manual_seed(0)
    attn = Attention(query_dim=24, heads=3, dim_head=8, bias=True)
    hidden = torch.randn(5, 16, 24, requires_grad=True)
    attn.set_processor(AttnProcessor2_0())
    expected = attn(hidden)
    attn.set_processor(FusedAttention())
    found = attn(hidden)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    gradients = [torch.autograd.grad(output.square().sum(), hidden)[0] for output in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_fused_attention_refuses_a_mask() -> None:
    attn = Attention(query_dim=24, heads=3, dim_head=8, processor=FusedAttention())
    with pytest.raises(ValueError, match="no mask"):
        attn(torch.randn(2, 4, 24), attention_mask=torch.zeros(2, 1, 4))


def test_many_scores_are_left_to_fused_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    attn = Attention(query_dim=24, cross_attention_dim=12, heads=3, dim_head=8, processor=SharedTextAttention())
    hidden, text = torch.randn(10, 16, 24), torch.randn(2, 7, 12)
    plain = attn(hidden, encoder_hidden_states=text)
    monkeypatch.setattr(SharedTextAttention, "MOST_PLAIN", 10 * 16 * 7 * 3 - 1)
    monkeypatch.setattr(AttnProcessor, "__call__", None)
    torch.testing.assert_close(attn(hidden, encoder_hidden_states=text), plain, atol=1e-6, rtol=1e-5)
