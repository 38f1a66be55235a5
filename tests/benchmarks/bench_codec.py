"""Kafka's columnar codec alone, on fetches in memory, beside aiokafka's decoder. Nothing here is asserted.

Both check the checksums and touch every record; runs alternate, and a ratio is the median of its pairs.
"""

import argparse
import json
import platform
import statistics
import struct
import time
from collections.abc import Callable
from pathlib import Path

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from rich.console import Console
from rich.table import Table

from headrace.triggers.kafka.columnar import decode
from headrace.triggers.kafka.kernels import Kernels, native_kernels, pure_kernels

FETCH_BYTES = 1024 * 1024  # aiokafka's max_partition_fetch_bytes
BATCH_BYTES = 16 * 1024  # the Java producer's batch.size
GOALS = {"native": 10.0, "pure": 0.3}  # million records a second, 128 B values, not compressed
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def fetch_of(value_bytes: int, codec: int) -> tuple[bytes, int]:
    """A fetch of batches as producers make them, and how many records it holds."""
    each = max(1, BATCH_BYTES // (value_bytes + 8))
    batches: list[bytes] = []
    records = 0
    while records * value_bytes < FETCH_BYTES:
        builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
        for delta in range(each):
            value = struct.pack(">q", records + delta) * (value_bytes // 8)
            builder.append(delta, 1_700_000_000_000 + records + delta, None, value, [])
        batches.append(struct.pack(">q", records) + bytes(builder.build())[8:])
        records += each
    return b"".join(batches), records


def by_us(data: bytes, using: Kernels, *, values: bool = False) -> int:
    columns = decode(data, topic="bench", partition=0, using=using).columns
    return len(columns.values) if values else len(columns)


def by_aiokafka(data: bytes) -> int:
    records, count = MemoryRecords(data), 0
    while batch := records.next_batch():
        if not batch.validate_crc():
            raise ValueError("crc")
        for record in batch:
            record.value  # noqa: B018
            count += 1
    return count


def rate(action: Callable[[bytes], int], data: bytes, seconds: float) -> float:
    """Million records a second."""
    count, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < seconds:
        count += action(data)
    return count / taken / 1e6


def compare(ours: Callable[[bytes], int], data: bytes, pairs: int, seconds: float) -> tuple[float, float, float]:
    """Medians of our rate, of aiokafka's, and of their ratio."""
    found = [(rate(ours, data, seconds), rate(by_aiokafka, data, seconds)) for _ in range(pairs)]
    mine, theirs = zip(*found, strict=True)
    ratio = statistics.median(a / b for a, b in found)
    return statistics.median(mine), statistics.median(theirs), ratio


def cases() -> list[tuple[str, Kernels, int, int, bool]]:
    """Label, kernels, bytes of a value, codec, whether each value is made a view."""
    pure = [("pure", pure_kernels, 128, 0, False), ("pure, values", pure_kernels, 128, 0, True)]
    if (native := native_kernels()) is None:
        return list(pure)
    return [
        ("native", native, 128, 0, False),
        ("native, values", native, 128, 0, True),
        *((f"native, {name}", native, 128, codec, False) for name, codec in CODECS.items() if codec),
        ("native, 512 B", native, 512, 0, False),
        ("native, 4 KiB", native, 4096, 0, False),
        *pure,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="three short pairs a case")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    pairs, seconds = (3, 0.05) if options.short else (7, 0.4)
    table = Table("case", "M records/s", "goal", "GiB/s of values", "aiokafka M/s", "ratio")
    figures: dict[str, dict[str, float]] = {}
    for label, using, value_bytes, codec, values in cases():
        data, _ = fetch_of(value_bytes, codec)
        mine, theirs, ratio = compare(lambda each: by_us(each, using, values=values), data, pairs, seconds)  # noqa: B023
        figures[label] = {"m_records_s": mine, "aiokafka_m_records_s": theirs, "ratio": ratio}
        goal = f"≥ {GOALS[label]:g}" if label in GOALS else ""
        gib = mine * 1e6 * value_bytes / 2**30
        table.add_row(label, f"{mine:.2f}", goal, f"{gib:.2f}", f"{theirs:.2f}", f"{ratio:.1f}")
    Console(width=100).print(f"Python {platform.python_version()}, fetches of 1 MiB, batches of 16 KiB", table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
