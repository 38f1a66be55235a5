"""Which device a function gets, and what it tells of it."""

import subprocess
import sys

import pytest
from support.devices import simulated

from headrace.runtime.device import open_device
from headrace.runtime.device.cpu import CpuDevice
from headrace.runtime.device.measures import observe
from headrace.runtime.errors import DeviceMissing
from headrace.runtime.metrics import Metrics
from headrace.runtime.spec import parse
from headrace.triggers.errors import SpecError


@pytest.fixture
def _without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where CuPy is not installed, whether it is or not."""
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "headrace.runtime.device.cuda", raising=False)


def test_functions_that_ask_for_no_gpu_compute_on_the_cpu() -> None:
    assert open_device().name == "cpu"
    assert open_device("cpu", gpus=1).name == "cpu"
    assert open_device("simulated").name == "simulated"


@pytest.mark.usefixtures("_without_cupy")
def test_cupy_is_missing() -> None:
    message = r"device cuda: expected CuPy, got .*; `pip install 'headrace\[gpu\]'` brings it"
    with pytest.raises(DeviceMissing, match=message):
        open_device("cuda", required=False)
    with pytest.raises(DeviceMissing, match=message):
        open_device("auto", gpus=1)


@pytest.mark.usefixtures("_without_cupy")
def test_a_laptop_without_a_gpu_gets_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    assert open_device("auto", gpus=1, required=False).name == "cpu"
    assert "the function asks for a GPU, it gets the CPU: device cuda" in caplog.text


def test_there_is_no_such_device() -> None:
    with pytest.raises(DeviceMissing, match="expected one of auto, cpu, cuda, simulated, got `tpu` - at `HEADRACE_DEV"):
        open_device("tpu")


@pytest.mark.parametrize("amount", [1, "1"])
def test_what_func_yaml_asks_for(amount: object) -> None:
    assert parse({"resources": {"limits": {"nvidia.com/gpu": amount}}}).gpus == 1
    assert parse({"resources": {"limits": None}}).gpus == 0


def test_half_a_gpu() -> None:
    with pytest.raises(SpecError, match=r"expected a whole number, got `half` - at `\$.resources.limits\[\"nvidia"):
        parse({"resources": {"limits": {"nvidia.com/gpu": "half"}}})


def test_a_cpu_function_imports_no_array_library() -> None:
    code = (
        "import sys; from headrace.runtime.device import open_device; device = open_device(); device.is_out_of_memory("
        "OSError()); assert not {'numpy', 'cupy', 'ctypes', 'mmap'} & {*sys.modules}, 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_measures() -> None:
    metrics = Metrics([])
    device, _, _ = simulated(memory_bytes=1 << 20)
    device.stack([memoryview(b"ab"), memoryview(b"cd")], "uint8", (2,))
    observe(device, metrics)
    text = metrics.render().decode()
    assert "headrace_batch_gathered_bytes_total 4.0" in text
    assert "headrace_gpu_memory_total_bytes 1.048576e+06" in text
    assert "headrace_gpu_memory_used_bytes 65536.0" in text
    observe(CpuDevice(), metrics := Metrics([]))
    assert "headrace_gpu" not in metrics.render().decode()
