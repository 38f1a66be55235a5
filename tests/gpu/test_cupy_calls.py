"""What `runtime/device/cuda.py` asks of CuPy is there, and takes what it is given: checked without a GPU.

The source is walked: each `cupy.…` path must exist, each call's arguments must fit the signature (from
`inspect`, else from the docstring that Cython writes), and each method called on a CuPy object is looked up on
the class that it is of. A receiver that is not known here fails, so that nothing new goes unchecked.
"""

import ast
import ctypes
import inspect
import re
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import device
from headrace.runtime.device import open_device
from headrace.runtime.errors import DeviceMissing

cupy: Any = pytest.importorskip("cupy", reason="CuPy is not installed (`./scripts/test gpu` installs it)")

SOURCE = Path(device.__file__).with_name("cuda.py")
TREE = ast.parse(SOURCE.read_text())

# What an expression in cuda.py is, of CuPy's classes.
OBJECTS = {
    "cupy.cuda.Device(0)": "cuda.Device",
    "self.stream": "cuda.Stream",
    "own.stream": "cuda.Stream",
    "self.compute_stream.stream": "cuda.Stream",
    "self._graph": "cuda.Graph",
    "self._pool": "cuda.MemoryPool",
    "pool": "cuda.MemoryPool",
    "memory": "cuda.Memory",
    "pointer": "cuda.MemoryPointer",
    "array": "ndarray",
    "array.data": "cuda.MemoryPointer",
}
OWN = re.compile(
    r"self(\.copy_in_stream|\.copy_out_stream|\.compute_stream|\._stream)?|own|value|memoryview\(.*|type\(error\)"
)


def dotted(node: ast.expr) -> str | None:
    """`a.b.c` of an expression, if it is nothing but names."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return None if inner is None else f"{inner}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None


def found(path: str) -> Any:
    """`path` below `cupy`."""
    return reduce(getattr, path.split("."), cupy)


def attributes() -> Iterator[tuple[str, str]]:
    """(receiver, attribute) of each access in the source, calls' receivers as they are written."""
    for node in ast.walk(TREE):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node.value), node.attr


def calls() -> Iterator[tuple[str, ast.Call]]:
    """(path below `cupy`, call) of each call of CuPy."""
    for node in ast.walk(TREE):
        if not isinstance(node, ast.Call):
            continue
        receiver, _, name = ast.unparse(node.func).rpartition(".")
        if receiver in OBJECTS:
            yield f"{OBJECTS[receiver]}.{name}", node
        elif (path := dotted(node.func)) is not None and path.startswith("cupy."):
            yield path.removeprefix("cupy."), node


def parameters(path: str) -> list[tuple[str, bool]]:
    """(name, whether it must be given) of what is called at `path`, without `self`."""
    target = found(path)
    try:
        signature = inspect.signature(target)
        given = [(p.name, p.default is p.empty) for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        if not any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
            return [pair for pair in given if pair[0] != "self"]
    except ValueError:
        pass
    text = inspect.getdoc(target) or ""
    head = re.match(r"[\w.]+\((.*?)\)( ->.*)?(\n|$)", text.strip(), re.DOTALL)
    assert head is not None, f"cupy.{path}: expected a docstring that begins with its signature, got {text[:60]!r}"
    names = [part.strip() for part in head.group(1).split(",") if part.strip() not in ("", "*", "self")]
    return [(re.split(r"[\s*]+", name.partition("=")[0])[-1], "=" not in name) for name in names]


PATHS = sorted(
    {
        path
        for node in ast.walk(TREE)
        if isinstance(node, ast.Attribute) and (path := dotted(node)) and path.startswith("cupy.")
    }
)
CALLS = [pytest.param(path, call, id=f"{path}:{call.lineno}") for path, call in calls()]


@pytest.mark.parametrize("path", PATHS)
def test_names_exist(path: str) -> None:
    found(path.removeprefix("cupy."))


@pytest.mark.parametrize(("path", "call"), CALLS)
def test_calls_fit(path: str, call: ast.Call) -> None:
    accepted = parameters(path)
    names = [name for name, _ in accepted]
    assert len(call.args) <= len(names), f"cupy.{path}{names}"
    given = {*names[: len(call.args)], *(keyword.arg for keyword in call.keywords if keyword.arg)}
    assert given <= {*names}, f"cupy.{path}{names}"
    assert {name for name, needed in accepted if needed} <= given, f"cupy.{path}{names}"


def test_methods_exist_and_no_receiver_is_unknown() -> None:
    for receiver, name in attributes():
        if receiver in OBJECTS:
            assert hasattr(found(OBJECTS[receiver]), name) or name in ("size", "ptr"), f"{OBJECTS[receiver]}.{name}"
        else:
            assert receiver.startswith("cupy") or OWN.fullmatch(receiver), f"who is `{receiver}` of `.{name}`?"


def test_enough_was_found() -> None:
    assert {call.values[0] for call in CALLS} >= {
        "cuda.Stream", "cuda.Event", "cuda.Stream.record", "cuda.Stream.wait_event", "cuda.Stream.begin_capture",
        "cuda.Graph.launch", "cuda.PinnedMemory", "cuda.Memory", "cuda.MemoryPointer.copy_from_host_async",
        "cuda.MemoryPointer.copy_to_host_async", "cuda.MemoryPool.set_limit", "ndarray", "from_dlpack",
    }  # fmt: skip


def test_pinned_memory_is_a_writable_buffer() -> None:
    """CuPy's pointer over other memory, as there is no GPU's driver to pin any."""
    place = ctypes.create_string_buffer(100)

    class Memory:
        ptr = ctypes.addressof(place)
        size = 100

    view = memoryview(cupy.cuda.PinnedMemoryPointer(Memory(), 0)).cast("B")
    view[3] = 200
    assert (view.nbytes, view.readonly, view.c_contiguous, place.raw[3]) == (100, False, True, 200)


def test_out_of_memory_is_a_memory_error() -> None:
    error = cupy.cuda.memory.OutOfMemoryError(1, 2)
    assert isinstance(error, MemoryError)
    assert type(error).__name__ == "OutOfMemoryError"
    assert str(cupy.cuda.runtime.CUDARuntimeError(2)).startswith("cudaErrorMemoryAllocation")
    assert cupy.cuda.runtime.CUDARuntimeError(2).status == 2


def test_events_and_graphs_have_what_is_used_of_them() -> None:
    assert hasattr(cupy.cuda.Event, "done")
    assert callable(cupy.cuda.Event.synchronize)


@pytest.mark.skipif(cupy.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(DeviceMissing, match=r"device cuda: expected a GPU that CuPy [\d.]+ can use: cudaError"):
        open_device("cuda")
    assert open_device("auto", gpus=1, required=False).name == "cpu"
