"""The simulated GPU's arrays compute as NumPy does, and refuse what CuPy refuses."""

from typing import Any

import numpy as np
import pytest
from support.devices import simulated


@pytest.fixture
def xp() -> Any:
    return simulated()[0].xp


def test_operators_and_functions(xp: Any) -> None:
    host = np.arange(12, dtype="float32").reshape(3, 4)
    x = xp.asarray(host)
    for got, expected in [
        (x + 1, host + 1),
        (2 / (x + 1), 2 / (host + 1)),
        (x @ x.T, host @ host.T),
        (-x, -host),
        (x > 3, host > 3),
        (xp.exp(x), np.exp(host)),
        (xp.concatenate([x, x]), np.concatenate([host, host])),
        (xp.where(x > 3, x, xp.zeros_like(x)), np.where(host > 3, host, 0)),
        (np.sum(x, axis=0), host.sum(axis=0)),
        (np.add.reduce(x), host.sum(axis=0)),
        (x.mean(axis=1), host.mean(axis=1)),
        (x.astype("int8"), host.astype("int8")),
        (x[:, ::2], host[:, ::2]),
        (x[xp.asarray([2, 0])], host[[2, 0]]),
        (x.T.reshape(2, 6), host.T.reshape(2, 6)),
        (x.ravel(), host.ravel()),
        (x.transpose(1, 0), host.T),
        (xp.divmod(x, 5)[1], np.divmod(host, 5)[1]),
    ]:
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got.get(), expected, rtol=1e-6)


def test_writing(xp: Any) -> None:
    x = xp.zeros((2, 3))
    x[0] = 5
    x[1, 1:] = xp.ones(2)
    x += 1
    view = x[1]
    view *= 10
    np.add(x, x, out=x)
    assert x.tolist() == [[12, 12, 12], [20, 40, 40]]
    x.fill(0)
    assert xp.asnumpy(x).sum() == 0


def test_what_is_known_without_waiting(xp: Any) -> None:
    x = xp.empty((2, 3), "int16")
    assert (x.shape, x.ndim, x.size, x.nbytes, len(x), len(list(x))) == ((2, 3), 2, 6, 12, 2, 2)
    assert xp.empty_like(x).dtype == np.int16
    assert xp.float32 is np.float32
    assert x.copy().tolist()[0][0] != 0  # poison


def test_reading(xp: Any) -> None:
    x = xp.asarray([3])
    assert (float(x[0]), int(x[0]), bool(x[0]), x.item()) == (3.0, 3, True, 3)
    assert repr(x) == "simulated(array([3]))"
    assert xp.asarray(x) is x
    assert xp.asarray(x, "float64").dtype == np.float64
    assert xp.asnumpy([1]).tolist() == [1]


def test_no_implicit_copies(xp: Any) -> None:
    x = xp.ones(3)
    with pytest.raises(TypeError, match=r"expected `\.get\(\)`"):
        np.asarray(x)
    with pytest.raises(TypeError, match=r"expected device arrays, got `numpy\.ndarray`"):
        _ = x + np.ones(3)
    with pytest.raises(AttributeError, match="no attribute 'tobytes'"):
        x.tobytes()
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)


def test_memory_comes_back(xp: Any) -> None:
    device, _, _ = simulated()
    x = device.xp.ones((100, 100))
    y = x[1:, 2]
    used = device.memory()
    del x
    assert device.memory() == used  # a view of it is there
    del y
    memory = device.memory()
    assert memory is not None
    assert memory.used_bytes == 0


def test_foreign_arrays_keep_the_memory() -> None:
    device, driver, _ = simulated()
    foreign = np.from_dlpack(device.xp.ones(5))
    driver.compute_stream.synchronize()
    assert foreign.tolist() == [1.0] * 5
    assert device.from_dlpack(np.arange(3)).tolist() == [0, 1, 2]


def test_a_graph_replays_on_its_own_memory() -> None:
    device, _, _ = simulated()
    calls: list[int] = []

    def model(x: Any, y: Any) -> Any:
        calls.append(len(x))
        hidden = x * 2
        return hidden + y

    graphed = device.graphed(model)
    results = [graphed(device.xp.ones(n) * k, device.xp.ones(n)) for k in (1, 2, 3) for n in (2, 4)]
    assert calls == [2, 2, 4, 4]  # once for real and once to capture
    assert [result.tolist()[0] for result in results] == [3, 3, 5, 5, 7, 7]


def test_few_graphs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.runtime.device.graphs.MAX_GRAPHS", 2)
    device, _, _ = simulated()
    calls: list[int] = []

    def model(x: Any) -> Any:
        calls.append(len(x))
        return x + 1

    graphed = device.graphed(model)
    for n in (1, 2, 1, 3, 1, 2):
        assert graphed(device.xp.zeros(n)).tolist() == [1.0] * n
    assert calls == [1, 1, 2, 2, 3, 3, 2, 2]


def test_a_graphed_function_must_give_one_array() -> None:
    from headrace.runtime.errors import HandlerError

    device, _, _ = simulated()
    with pytest.raises(HandlerError, match="expected one device array as its result, got `float`"):
        device.graphed(lambda x: 1.0)(device.xp.ones(1))
