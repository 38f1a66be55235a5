"""Where arrays are made and computed with: implementations of `triggers.protocols.Device`, and the choice.

`cpu` (NumPy) · `cuda` (CuPy) · `simulated` (a GPU that is none, for tests). What a module needs of NumPy or
CuPy is imported when its device is opened, or later: a function without tensors pays for neither.
"""

import logging

from headrace.triggers import wire
from headrace.triggers.protocols import Device

from ..errors import DeviceMissing
from .cpu import CpuDevice

logger = logging.getLogger(__name__)

KINDS = ("auto", "cpu", "cuda", "simulated")


def open_device(
    kind: str = "auto", *, gpus: int = 0, required: bool = True, memory_limit_bytes: int | None = None
) -> Device:
    """The device that a function gets; the calling thread has entered it.

    Args:
        kind: One of `KINDS`. `auto`: `cuda` if the function asks for a GPU, else `cpu`.
        gpus: How many it asks for (`resources.limits."nvidia.com/gpu"`); it is given the first.
        required: Whether `auto` fails where there is no GPU (on a cluster, which has given it one), or else
            takes the CPU, with a warning (on a laptop).
        memory_limit_bytes: Most GPU memory that CuPy's pool may take.

    Raises:
        DeviceMissing: There is none, its library is not installed, or there is no such kind.
    """
    if kind not in KINDS:
        raise DeviceMissing(f"device: expected one of {', '.join(KINDS)}, got `{kind}` - at `{wire.DEVICE}`")
    if kind == "cpu" or (kind == "auto" and not gpus):
        return CpuDevice()
    if kind == "simulated":
        from .gpu import GpuDevice
        from .simulated import SimulatedDriver

        device = GpuDevice(SimulatedDriver())
        device.enter_thread()
        return device
    try:
        return _open_cuda(memory_limit_bytes)
    except DeviceMissing as exc:
        if kind == "cuda" or required:
            raise
        logger.warning("the function asks for a GPU, it gets the CPU: %s", exc)
        return CpuDevice()


def _open_cuda(memory_limit_bytes: int | None) -> Device:
    try:
        from .cuda import CudaDriver
    except ImportError as exc:
        text = f"device cuda: expected CuPy, got {exc}; `pip install 'headrace[gpu]'` brings it"
        raise DeviceMissing(text) from exc
    from .gpu import GpuDevice

    device = GpuDevice(CudaDriver(memory_limit_bytes))
    device.enter_thread()
    memory = device.driver.memory()
    logger.info("gpu used_bytes=%s total_bytes=%s", memory.used_bytes, memory.total_bytes)
    return device
