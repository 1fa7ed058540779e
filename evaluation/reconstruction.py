"""How near one decoder's videos are to another's of the same latents, one value per clip.

All take float clips [B, T, 3, H, W] in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW, SIGMA = 11, 1.5  # pixels; of SSIM's Gaussian
C1, C2 = 0.01**2, 0.03**2  # of SSIM, for pixels in [0, 1]


def psnr_db(videos: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB [B], over all pixels of a clip; 100 where clips are equal."""
    error = (videos - reference).square().flatten(1).mean(dim=1)
    return -10 * error.clamp(min=1e-10).log10()


def ssim(videos: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity [B], mean over frames, channels and the places where the whole window fits.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 13(4), 2004,
    eq. 13, with its window (a Gaussian of 11 x 11 pixels and deviation 1.5) and its constants. Frames smaller than the
    window get a smaller one.
    """
    size = min(WINDOW, *videos.shape[-2:])
    places = torch.arange(size, dtype=videos.dtype, device=videos.device) - (size - 1) / 2
    line = (-(places**2) / (2 * SIGMA**2)).exp()
    line = line / line.sum()
    window = (line[:, None] * line)[None, None]

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(values, window)

    x, y = (clips.flatten(0, 2)[:, None] for clips in (videos, reference))
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    index = (2 * mx * my + C1) * (2 * cov + C2) / ((mx**2 + my**2 + C1) * (vx + vy + C2))
    return index.unflatten(0, (len(videos), -1)).flatten(1).mean(dim=1)


def second_difference(videos: Tensor) -> Tensor:
    """Mean of ``|x[t+1] - 2 x[t] + x[t-1]|`` [B]: flicker, and some of motion; 0 for clips of less than 3 frames."""
    if videos.shape[1] < 3:
        return videos.new_zeros(len(videos))
    return videos.diff(n=2, dim=1).abs().flatten(1).mean(dim=1)


def flicker(videos: Tensor, reference: Tensor) -> Tensor:
    """How much more clips flicker than the reference's [B]: the excess of :func:`second_difference`; below 0:
    smoother."""
    return second_difference(videos) - second_difference(reference)
