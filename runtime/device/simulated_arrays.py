"""The simulated GPU's arrays: NumPy in late execution, refusing what CuPy refuses.

An operation finds out its result's shape on zeros, takes poisoned memory for it, and is put on the calling
thread's stream. Reading (`get`, `item`, `float`, printing) waits for that stream alone, as on a GPU. An array
never turns into a NumPy array by itself. What does not belong here: streams and their order (`simulated`).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

if TYPE_CHECKING:
    from .simulated import SimulatedDriver

_METHODS = frozenset((
    "all", "any", "argmax", "argmin", "argsort", "astype", "clip", "conj", "cumsum", "dot", "max", "mean", "min",
    "prod", "round", "std", "sum", "var",
))  # fmt: skip
_VIEWS = frozenset({"transpose", "swapaxes", "squeeze", "view", "diagonal"})
_DLPACK_CPU = 1


class SimulatedArray(NDArrayOperatorsMixin):
    """An array on the simulated GPU.

    Args:
        driver: Whose memory it lies in.
        content: That memory; for work on streams only.
        owner: Kept; the memory is released with it.
    """

    __slots__ = ("content", "driver", "owner")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, driver: "SimulatedDriver", content: np.ndarray[Any, Any], owner: object) -> None:
        self.driver = driver
        self.content = content
        self.owner = owner

    # -- known without waiting -----------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.content.shape
        return shape

    @property
    def dtype(self) -> "np.dtype[Any]":
        dtype: np.dtype[Any] = self.content.dtype
        return dtype

    @property
    def ndim(self) -> int:
        return self.content.ndim

    @property
    def size(self) -> int:
        return self.content.size

    @property
    def nbytes(self) -> int:
        return self.content.nbytes

    @property
    def T(self) -> "SimulatedArray":  # NumPy's name
        return self._view(self.content.T)

    def __len__(self) -> int:
        return len(self.content)

    def __iter__(self) -> "Iterator[SimulatedArray]":
        return (self[index] for index in range(len(self)))

    # -- put on the current stream -------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return apply(self.driver, getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, function: Any, _types: Any, args: Any, kwargs: Any) -> Any:
        return apply(self.driver, function, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in _METHODS:
            method = getattr(np.ndarray, name)
            return lambda *args, **kwargs: apply(self.driver, method, (self, *args), kwargs)
        if name in _VIEWS:
            return lambda *args, **kwargs: self._view(getattr(self.content, name)(*args, **kwargs))
        raise AttributeError(f"simulated array: no attribute {name!r}")

    def __getitem__(self, index: Any) -> "SimulatedArray":
        items = index if isinstance(index, tuple) else (index,)
        if all(isinstance(item, int | slice | type(...) | type(None)) for item in items):
            # with an ellipsis a single item is a view, too, and no NumPy scalar
            return self._view(self.content[items if ... in items else (*items, ...)])
        return cast("SimulatedArray", apply(self.driver, np.ndarray.__getitem__, (self, index), {}))

    def __setitem__(self, index: Any, value: Any) -> None:
        apply(self.driver, np.ndarray.__setitem__, (self, index, value), {}, changed=True)

    def reshape(self, *shape: Any, **kwargs: Any) -> "SimulatedArray":
        content = self.content.reshape(*shape, **kwargs)
        if np.shares_memory(content, self.content) or not self.size:
            return self._view(content)
        return cast("SimulatedArray", apply(self.driver, np.ndarray.reshape, (self, *shape), kwargs))

    def ravel(self) -> "SimulatedArray":
        return self.reshape(-1)

    def copy(self) -> "SimulatedArray":
        return cast("SimulatedArray", apply(self.driver, np.copy, (self,), {}))

    def fill(self, value: Any) -> None:
        self[...] = value

    # -- waits for the current stream ----------------------------------------------------------------------

    def get(self) -> np.ndarray[Any, Any]:
        """Its content, on the host; waits for the calling thread's stream, and no other."""
        self.driver.current.synchronize()
        return self.content.copy()

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __bool__(self) -> bool:
        return bool(self.get())

    def __repr__(self) -> str:
        return f"simulated({self.get()!r})"

    # -- to others -----------------------------------------------------------------------------------------

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("implicit conversion of a device array to NumPy: expected `.get()`")

    def __dlpack_device__(self) -> tuple[int, int]:
        return _DLPACK_CPU, 0  # that is where its bytes really are

    def __dlpack__(self, **kwargs: Any) -> Any:
        """A capsule over the same memory; the consumer may read at once, so this waits."""
        self.driver.current.synchronize()
        kwargs.pop("stream", None)
        return np.asarray(_Exported(self)).__dlpack__(**kwargs)

    def _view(self, content: np.ndarray[Any, Any]) -> "SimulatedArray":
        return SimulatedArray(self.driver, content, self.owner)


class _Exported:
    """Keeps an array as long as a foreign one lies on its memory."""

    def __init__(self, array: SimulatedArray) -> None:
        self._array = array
        self.__array_interface__ = array.content.__array_interface__


class ArrayModule:
    """`xp`: NumPy's functions, on the simulated GPU."""

    ndarray = SimulatedArray

    def __init__(self, driver: "SimulatedDriver") -> None:
        self._driver = driver

    def asarray(self, value: Any, dtype: Any = None) -> SimulatedArray:
        """A copy of host data, or `value` itself."""
        if isinstance(value, SimulatedArray):
            return value if dtype in (None, value.dtype) else cast("SimulatedArray", value.astype(dtype))
        return _put(self._driver, np.array(value, dtype))

    array = asarray

    def asnumpy(self, value: Any) -> np.ndarray[Any, Any]:
        """Back on the host."""
        return value.get() if isinstance(value, SimulatedArray) else np.asarray(value)

    def ascontiguousarray(self, value: SimulatedArray) -> SimulatedArray:
        """`value`, in C order."""
        return value if value.content.flags.c_contiguous else value.copy()

    def empty(self, shape: Any, dtype: Any = float) -> SimulatedArray:
        """Poison."""
        return _allocated(self._driver, np.empty(shape, dtype))

    def empty_like(self, value: SimulatedArray) -> SimulatedArray:
        return self.empty(value.shape, value.dtype)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(np, name)
        if isinstance(attribute, type) or not callable(attribute):
            return attribute  # dtypes and constants

        def call(*args: Any, **kwargs: Any) -> Any:
            return apply(self._driver, attribute, args, kwargs)

        return call


def apply(
    driver: "SimulatedDriver",
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    changed: bool = False,
) -> Any:
    """Put a call of a NumPy function on the current stream.

    Args:
        driver: Where results lie.
        function: Must give results of one shape and dtype, whatever the values.
        args: Device arrays and scalars, perhaps in lists.
        kwargs: Likewise; `out` is written to.
        changed: It changes its first argument and returns nothing.

    Raises:
        TypeError: A NumPy array is among them, as in CuPy.
    """
    out = kwargs.pop("out", None)
    target = out[0] if isinstance(out, tuple) else out
    with np.errstate(all="ignore"):
        shaped = function(*_mapped(args, _zeros), **_mapped(kwargs, _zeros))
    inputs, named = _mapped(args, _content), _mapped(kwargs, _content)
    if changed:
        driver.current.put("compute", lambda: function(*inputs, **named))
        return None
    results = shaped if isinstance(shaped, tuple) else (shaped,)
    places = [target] if target is not None else [_allocated(driver, np.asarray(each)) for each in results]
    contents = [place.content for place in places]

    def compute() -> None:
        with np.errstate(all="ignore"):
            computed = function(*inputs, **named)
        for content, result in zip(contents, computed if isinstance(computed, tuple) else (computed,), strict=True):
            content[...] = result

    driver.current.put("compute", compute)
    return tuple(places) if isinstance(shaped, tuple) else places[0]


def _allocated(driver: "SimulatedDriver", like: np.ndarray[Any, Any]) -> SimulatedArray:
    memory = driver.allocate(max(like.nbytes, 1))
    return SimulatedArray(driver, memory.content[: like.nbytes].view(like.dtype).reshape(like.shape), memory)


def _put(driver: "SimulatedDriver", host: np.ndarray[Any, Any]) -> SimulatedArray:
    place = _allocated(driver, host)
    content = place.content

    def copy() -> None:
        content[...] = host

    driver.current.put("compute", copy)
    return place


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_mapped(item, change) for item in value)
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    return change(value)


def _zeros(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        raise TypeError("simulated device: expected device arrays, got `numpy.ndarray`; `xp.asarray` copies it")
    return np.zeros(value.shape, value.dtype) if isinstance(value, SimulatedArray) else value


def _content(value: Any) -> Any:
    return value.content if isinstance(value, SimulatedArray) else value
