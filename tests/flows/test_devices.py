from __future__ import annotations

import threading
from pathlib import Path

import pytest

from flows import devices
from flows.devices import Devices, locked

TWO = Devices(("GPU-a", "GPU-b"))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "WAIT", 0.01)


def test_a_device_has_one_stage_at_a_time(tmp_path: Path) -> None:
    with locked(TWO, 1, tmp_path) as first, locked(TWO, 1, tmp_path) as second:
        assert sorted([*first, *second]) == [0, 1]
        third: list[int] = []
        waiting = threading.Thread(target=lambda: third.extend(_once(TWO, 1, tmp_path)))
        waiting.start()
        waiting.join(0.3)
        assert not third, "a locked device was taken"
    waiting.join(60)
    assert len(third) == 1


def test_two_stages_that_each_want_all_devices_both_get_them(tmp_path: Path) -> None:
    """Each could hold one and wait for the other for ever."""
    got: list[list[int]] = []
    threads = [threading.Thread(target=lambda: got.append(_once(TWO, 2, tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == [[0, 1]] * 8


def test_no_more_devices_than_there_are(tmp_path: Path) -> None:
    assert _once(TWO, 8, tmp_path) == [0, 1]
    assert _once(Devices(), 1, tmp_path) == []


def _once(found: Devices, count: int, folder: Path) -> list[int]:
    with locked(found, count, folder) as chosen:
        return list(chosen)


def test_a_stage_sees_only_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert TWO.visible([1]) == {"CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    assert TWO.visible([0, 1]) == {"CUDA_VISIBLE_DEVICES": "5,GPU-7"}
    assert TWO.visible([1]) == {"CUDA_VISIBLE_DEVICES": "GPU-7"}


def test_torch_is_not_asked_where_there_is_no_sign_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_SIGNS", ("/nowhere",))
    devices.find_devices.cache_clear()
    assert devices.find_devices() == Devices()
