"""Cross-attention from the frames of a video to one text."""

from __future__ import annotations

from typing import Any

from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor


class SharedTextAttention:
    """A diffusers attention processor for frames that all read the same text.

    ``UNet3DConditionModel`` repeats the text for each frame and projects every copy to keys and values. Attention does
    not mix queries, so the frames of a video can stand in one row of queries before one copy of the text: the same
    result, with 1 / T of the keys and values.

    Shapes: frames [B * T, N, C], text [B, L, D] -> [B * T, N, C], for any T.

    Args:
        inner: the processor that attends; none = fused attention, but on a CPU, where its cost per head and row
            outweighs that of products as small as the miniature's, the plain one.
    """

    def __init__(self, inner: Any = None) -> None:
        self.inner = inner
        self._plain, self._fused = AttnProcessor(), AttnProcessor2_0()

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        inner = self.inner or (self._plain if hidden_states.device.type == "cpu" else self._fused)
        videos = hidden_states.unflatten(0, (len(encoder_hidden_states), -1))
        out: Tensor = inner(attn, videos.flatten(1, 2), encoder_hidden_states, *args, **kwargs)
        return out.view(hidden_states.shape)
