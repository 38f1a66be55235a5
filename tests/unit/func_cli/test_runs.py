import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.func_cli.runs import Claim, Registry, RunState, Taken


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "state" / "run")


@pytest.fixture
def claim(registry: Registry) -> Iterator[Claim]:
    held = registry.claim("detect")
    yield held
    held.release()


def state(name: str = "detect") -> RunState:
    return RunState(name=name, project="/p", pid=os.getpid(), started_s=1.0, url="http://127.0.0.1:8080")


def test_a_claimed_run_is_found_with_what_it_says(registry: Registry, claim: Claim) -> None:
    assert registry.find("detect") is None  # it has said nothing yet
    claim.write(state())
    assert registry.find("detect") == state()
    assert registry.running() == [state()]


def test_folders_are_the_users_alone(registry: Registry, claim: Claim) -> None:
    for folder in (registry.root, claim.folder):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_name_is_taken_while_its_run_lives(registry: Registry, claim: Claim) -> None:
    claim.write(state())
    with pytest.raises(Taken, match="lives") as caught:
        registry.claim("detect")
    assert caught.value.state == state()


def test_a_second_name_is_free(registry: Registry, claim: Claim) -> None:
    other = registry.claim("other")
    other.write(state("other"))
    claim.write(state())
    assert [run.name for run in registry.running()] == ["detect", "other"]
    other.release()
    assert [run.name for run in registry.running()] == ["detect"]


def test_release_leaves_nothing_and_frees_the_name(registry: Registry) -> None:
    claim = registry.claim("detect")
    claim.write(state())
    (claim.folder / "log.jsonl").write_text("{}")
    claim.release()
    claim.release()
    assert list(registry.root.iterdir()) == []
    registry.claim("detect").release()


_HOLD = """
import sys, signal
from pathlib import Path
from headrace.func_cli.runs import Registry, RunState
claim = Registry(Path(sys.argv[1])).claim("dead")
claim.write(RunState(name="dead", project="/p", pid=1, started_s=0.0))
print("held", flush=True)
signal.pause()
"""


def test_what_a_killed_run_left_is_removed_on_sight(registry: Registry) -> None:
    process = subprocess.Popen([sys.executable, "-c", _HOLD, registry.root], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as out:
        assert out.readline() == b"held\n"
    assert registry.find("dead") is not None
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert registry.running() == []
    assert list(registry.root.iterdir()) == []


def test_a_stale_entry_is_claimed_afresh(registry: Registry) -> None:
    folder = registry.folder("detect")
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "state.json").write_text("{}")
    claim = registry.claim("detect")
    assert sorted(path.name for path in folder.iterdir()) == ["lock"]
    claim.release()


def test_names_that_are_no_names_are_not_looked_up(registry: Registry) -> None:
    assert registry.find("../run") is None
    assert registry.find("") is None


def test_nothing_runs_where_nothing_ever_ran(registry: Registry) -> None:
    assert registry.running() == []


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({"XDG_STATE_HOME": "/s"}, Path("/s/headrace/run")),
        ({"XDG_STATE_HOME": "relative"}, Path.home() / ".local/state/headrace/run"),
        ({}, Path.home() / ".local/state/headrace/run"),
    ],
)
def test_place_follows_xdg(environ: dict[str, str], root: Path) -> None:
    assert Registry.of(environ).root == root
