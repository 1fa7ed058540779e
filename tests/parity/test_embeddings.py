from __future__ import annotations

import torch

from hummingbird.parity.embeddings import Waves
from hummingbird.parity.schedules import guidance_waves
from hummingbird.pipelines.text_to_video import guidance_embedding, guidance_frequencies

WEIGHTS = torch.tensor([0.0, 5.0, 7.5, 15.0])
DIM = 33  # odd: the last column is zero


def shifted_golden() -> torch.Tensor:
    """What a processor gives that rounds frequency 1 up."""
    frequencies = guidance_frequencies(DIM)
    frequencies[1] = frequencies[1].nextafter(torch.tensor(1.0))
    angles = 1000 * WEIGHTS[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos(), torch.zeros(4, 1)], dim=1)


def waves() -> Waves:
    return guidance_waves(WEIGHTS, DIM)


def test_our_embedding_and_one_with_another_rounding_agree() -> None:
    exact = guidance_embedding(WEIGHTS.double() + 1, DIM)
    assert waves().compare("same", exact).difference == 0
    golden = shifted_golden()
    assert (golden - exact).abs().max() > 1e-5
    assert waves().compare("rounded", golden).passed
    assert waves().compare("part", golden[:, 2:6], slice(2, 6)).passed
    assert waves().row_sums("sums", golden.double().sum(1)).passed


def test_a_rounding_that_is_not_the_same_for_all_rows_is_a_miss() -> None:
    golden = shifted_golden()
    golden[2] = waves().ours[2]
    assert not waves().compare("mixed", golden).passed


def test_a_small_mistake_is_a_miss() -> None:
    golden = shifted_golden()
    golden[1, 20] += 1e-5
    assert not waves().compare("damaged", golden).passed
    assert not waves().compare("shape", golden[:, :5]).passed
    assert not waves().row_sums("sums", golden.double().sum(1) + 0.1).passed
