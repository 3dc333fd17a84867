"""What the device has: the kernel's word, and NVML's where it answers."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from bus import device
from services.model_manager import meminfo
from services.model_manager.meminfo import Memory

pytestmark = pytest.mark.unit

GB = 1e9


class Library:
    """libnvidia-ml as far as it is asked; `answer` is what it returns for memory."""

    def __init__(self, answer: int = 0, total: int = 80 * 10**9, found: int = 0) -> None:
        self._answer, self._total, self._found = answer, total, found
        self.asked: list[int] = []

    def nvmlInit_v2(self) -> int:  # noqa: N802 - the library's names
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:  # noqa: ANN401, N802 - ctypes' references have no public type
        assert handle is not None
        self.asked.append(index.value)
        return self._found

    def nvmlDeviceGetMemoryInfo(self, handle: Any, info: Any) -> int:  # noqa: ANN401, N802 - the same
        assert isinstance(handle, ctypes.c_void_p)
        info._obj.total, info._obj.free = self._total, self._total // 2
        return self._answer


class OlderLibrary:
    def nvmlInit_v2(self) -> int:  # noqa: N802 - the library's name
        return 0


def test_an_accelerator_with_a_memory_of_its_own_is_believed() -> None:
    library = Library()
    assert meminfo.look(library, 1) == Memory(80.0, 40.0, own=True)
    assert library.asked == [1]


@pytest.mark.parametrize(
    "library",
    [None, Library(answer=3), Library(total=0), Library(found=2), OlderLibrary()],
    ids=["none", "not supported", "nothing", "no device", "older"],
)
def test_where_it_does_not_tell_the_kernel_does(library: Any) -> None:  # noqa: ANN401 - several kinds
    found = meminfo.look(library)
    assert not found.own
    assert found.total_gb == device.memory_total_bytes() / GB
    assert 0 < found.free_gb < found.total_gb


def test_a_machine_without_the_driver_has_no_library() -> None:
    library = meminfo.load_nvml()
    assert library is None or meminfo.look(library).total_gb > 0


@pytest.mark.parametrize(
    ("told", "index"), [("", 0), ("2", 2), (" 3,1", 3), ("GPU-5c1d", 0), ("-1", 0)]
)
def test_the_accelerator_is_the_one_that_the_models_see(told: str, index: int) -> None:
    assert meminfo.visible({"CUDA_VISIBLE_DEVICES": told}) == index


def test_models_may_take_nearly_all_or_what_the_operator_says() -> None:
    assert meminfo.budget_gb(Memory(128.0, 100.0), 0.0) == pytest.approx(117.76)
    assert meminfo.budget_gb(Memory(8.0, 4.0), 0.0) == 7.0
    assert meminfo.budget_gb(Memory(128.0, 100.0), 40.0) == 40.0


def test_the_kernels_table_is_read_by_name(tmp_path: Path) -> None:
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\n")
    assert device.memory_total_bytes(table) == 1000 * 1024
    assert device.memory_available_bytes(table) == 250 * 1024
    assert device.memory_total_bytes(tmp_path / "absent") == 0
