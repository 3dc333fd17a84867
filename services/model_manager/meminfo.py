"""How much memory the device has, and has free.

Where the CPU and the accelerator share one memory, the kernel's MemAvailable is the only figure
that is right, and NVML does not answer for memory at all. Where it does, the accelerator has a
memory of its own, and that is the one that models are loaded into.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, cast

from bus import device

GB = 1e9
RESERVED_RATIO = 0.08
LEAST_RESERVED_GB = 1.0
"""What is left to the system and to everything that is no model."""
_SUCCESS = 0


class Memory(NamedTuple):
    """In 10^9 bytes; `own` says that the accelerator does not share the machine's."""

    total_gb: float
    free_gb: float
    own: bool = False


class Nvml(Protocol):
    """The functions of libnvidia-ml that are used; each returns 0 when it answers."""

    nvmlInit_v2: Callable[..., int]  # noqa: N815 - the library's names
    nvmlDeviceGetHandleByIndex_v2: Callable[..., int]  # noqa: N815 - the same
    nvmlDeviceGetMemoryInfo: Callable[..., int]  # noqa: N815 - the same


class _Info(ctypes.Structure):
    """`nvmlMemory_t`."""

    _fields_ = [
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    ]


def load_nvml() -> Nvml | None:
    """Return the driver's library, or None without one that answers."""
    try:
        library = cast("Nvml", ctypes.CDLL("libnvidia-ml.so.1"))
        return library if library.nvmlInit_v2() == _SUCCESS else None
    except (OSError, AttributeError):
        return None


def look(nvml: Nvml | None, index: int = 0) -> Memory:
    """Return what the device has now: an accelerator's own memory if it tells, else the host's."""
    told = _told(nvml, index) if nvml is not None else None
    if told is not None:
        return told
    total = device.memory_total_bytes() / GB
    return Memory(total, device.memory_available_bytes() / GB)


def visible(environ: Mapping[str, str]) -> int:
    """Return the accelerator that is this device: the first that the models' library would see."""
    first = environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def budget_gb(memory: Memory, given_gb: float) -> float:
    """Return how much models may take together: what the operator says, else nearly all."""
    if given_gb:
        return given_gb
    reserved = max(LEAST_RESERVED_GB, memory.total_gb * RESERVED_RATIO)
    return max(0.0, memory.total_gb - reserved)


def _told(nvml: Nvml, index: int) -> Memory | None:
    handle, info = ctypes.c_void_p(), _Info()
    try:
        found = nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
        asked = found == _SUCCESS and nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(info))
    except AttributeError:  # a driver that is older than the question
        return None
    if found != _SUCCESS or asked != _SUCCESS or not info.total:
        return None
    return Memory(info.total / GB, info.free / GB, own=True)
