from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from hummingbird.models.attention import SharedTextAttention


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
