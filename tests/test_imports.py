"""What a replica imports before its first event: the budget of a cold start."""

import json
import subprocess
import sys

import pytest

# What Python itself, uvloop, httptools and msgspec bring; anything else is paid for at each cold start.
ALLOWED = {"uvloop", "httptools", "msgspec", "headrace", "typing_extensions"}  # msgspec takes the last where it is
FORBIDDEN_STDLIB = {"http.client", "http.server", "urllib.request", "multiprocessing.connection", "unittest", "email"}


def imported(statement: str) -> set[str]:
    """All modules that a fresh interpreter has after `statement`, beyond those that it starts with."""
    code = (
        f"import sys; before = set(sys.modules); {statement}; after = set(sys.modules); "
        "import json; print(json.dumps(sorted(after - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def third_party(modules: set[str]) -> set[str]:
    names = {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names)
    return {name for name in names if "cython" not in name}  # what compiled modules share, uvloop's


@pytest.mark.parametrize(
    "statement", ["import headrace.runtime.main", "import headrace.runtime.main, headrace.runtime.shapes.event"]
)
def test_a_replica_that_serves_http_imports_little(statement: str) -> None:
    modules = imported(statement)
    assert third_party(modules) <= ALLOWED
    assert modules & FORBIDDEN_STDLIB == set()


def test_public_names_are_lazy() -> None:
    assert third_party(imported("import headrace")) <= {"headrace"}
    modules = imported("from headrace import Batch, Context, Event, Response")
    assert third_party(modules) <= {"headrace", "msgspec", "typing_extensions"}
