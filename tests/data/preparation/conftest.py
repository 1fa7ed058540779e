from __future__ import annotations

import pytest

from hummingbird.params import Preparation


@pytest.fixture
def settings() -> Preparation:
    return Preparation(min_clip_s=0.25, max_short_side=240)
