"""Attention within a video's frames, along them, and from them to one text: processors for diffusers' ``Attention``."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor


class FusedAttention:
    """What diffusers' ``AttnProcessor2_0`` does, without its options, which ``VideoUNet`` has no use for: masks, norms
    of queries and keys, images as input, and a division of the output, by one.

    Shapes: queries [N, L, C], context [N, M, D] (none = the queries themselves) -> [N, L, C].

    Raises:
        ValueError: a mask is given.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        if attention_mask is not None:
            raise ValueError("this attention takes no mask")
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            project(tokens).unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for project, tokens in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        heads = F.scaled_dot_product_attention(query, key, value)
        linear, dropout = attn.to_out
        out: Tensor = dropout(linear(heads.transpose(1, 2).flatten(2)))
        return out


class SharedTextAttention:
    """A diffusers attention processor for frames that all read the same text.

    ``UNet3DConditionModel`` repeats the text for each frame and projects every copy to keys and values. Attention does
    not mix queries, so the frames of a video can stand in one row of queries before one copy of the text: the same
    result, with 1 / T of the keys and values.

    Shapes: frames [B * T, N, C], text [B, L, D] -> [B * T, N, C], for any T.

    Args:
        inner: the processor that attends; none = fused attention, but on a CPU, where its cost per head and row
            outweighs that of products as small as the miniature's, the plain one for these.
    """

    MOST_PLAIN = 2**21  # scores; more of them would not stay in a CPU's cache

    def __init__(self, inner: Any = None) -> None:
        self.inner = inner
        self._plain, self._fused = AttnProcessor(), FusedAttention()

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        inner = self.inner or self._choose(attn, hidden_states, encoder_hidden_states)
        videos = hidden_states.unflatten(0, (len(encoder_hidden_states), -1))
        out: Tensor = inner(attn, videos.flatten(1, 2), encoder_hidden_states, *args, **kwargs)
        return out.view(hidden_states.shape)

    def _choose(self, attn: Attention, frames: Tensor, text: Tensor) -> Any:
        scores = frames.shape[0] * frames.shape[1] * text.shape[1] * attn.heads
        return self._plain if frames.device.type == "cpu" and scores <= self.MOST_PLAIN else self._fused
