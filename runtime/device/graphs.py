"""A function of device arrays, captured once for each shape and launched as a whole from then on.

A small model is dozens of kernels of a few µs, and starting each from Python costs as much; a graph is started
once. Its memory is fixed: inputs are copied into it, and its output out of it. What does not belong here: how
a driver captures.

Source: CUDA C++ Programming Guide, "CUDA Graphs"; CuPy `Stream.begin_capture`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import HandlerError
from .driver import Driver, DriverGraph

MAX_GRAPHS = 32
"""Shapes whose graphs are kept, the latest used: each holds its inputs, temporaries and output."""


class _Captured(NamedTuple):
    graph: DriverGraph
    inputs: list[Any]
    output: Any


class Graphed:
    """Calls `function` by graphs.

    Args:
        driver: Of the GPU.
        function: Of arrays to one array; always the same work for one shape, and nothing that waits for it.
    """

    def __init__(self, driver: Driver, function: Callable[..., Any]) -> None:
        self._driver = driver
        self._function = function
        self._graphs: dict[tuple[Any, ...], _Captured] = {}

    def __call__(self, *arguments: Any) -> Any:
        """The result, in memory of its own.

        Raises:
            HandlerError: The function returns something else than one array.
        """
        self._driver.enter_thread()
        key = tuple((array.shape, str(array.dtype)) for array in arguments)
        captured = self._graphs.pop(key, None) or self._capture(arguments)
        self._graphs[key] = captured
        if len(self._graphs) > MAX_GRAPHS:
            self._driver.compute_stream.synchronize()  # it may be running
            del self._graphs[next(iter(self._graphs))]
        for place, array in zip(captured.inputs, arguments, strict=True):
            place[...] = array
        captured.graph.launch()
        return captured.output.copy()

    def _capture(self, arguments: tuple[Any, ...]) -> _Captured:
        inputs = [array.copy() for array in arguments]
        # Once for real: kernels are compiled and libraries make their handles, which a capture can't.
        output = self._function(*inputs)
        if not isinstance(output, self._driver.xp.ndarray):
            kind = type(output).__name__
            raise HandlerError(f"graphed function: expected one device array as its result, got `{kind}`")
        self._driver.compute_stream.synchronize()
        graph, output = self._driver.capture(self._function, inputs)
        return _Captured(graph, inputs, output)
