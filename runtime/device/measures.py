"""What a device tells `/metrics`: bytes gathered, and a GPU's memory."""

from headrace.triggers.protocols import Device

from ..metrics import Metrics


def observe(device: Device, metrics: Metrics) -> None:
    """Let `metrics` read `device` at each scrape."""
    metrics.counter(
        "batch_gathered_bytes",
        "Bytes copied because the rows of a batch were not consecutive",
        lambda: device.gathered_bytes,
    )
    if device.memory() is None:
        return

    def used() -> float:
        memory = device.memory()
        return memory.used_bytes if memory else 0

    def total() -> float:
        memory = device.memory()
        return memory.total_bytes if memory else 0

    metrics.gauge("gpu_memory_used_bytes", "GPU memory in use, by whoever", used)
    metrics.gauge("gpu_memory_total_bytes", "GPU memory there is", total)
