import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from headrace.func_cli.reload import Ignored, ProjectWatch, folders, forget_bytecode

DEADLINE_S = 10.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("function", ".func/nats", ".git", "data/raw"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".funcignore").write_text("# comment\n\n*.log\n/data/raw\nnotes/\n!keep.log\n")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("func.yaml", False),
        ("function/__init__.py", False),
        ("function/model.onnx", False),
        ("function/__pycache__/x.pyc", True),
        (".func/nats/store", True),
        (".git/index", True),
        ("function/.__init__.py.swp", True),
        ("function/4913", True),
        ("function/__init__.py~", True),
        ("out.log", True),
        ("function/out.log", True),
        ("keep.log", False),
        ("data/raw/frame", True),
        ("function/data/raw", False),
        ("notes/a.txt", True),
    ],
)
def test_ignored(project: Path, path: str, ignored: bool) -> None:
    assert (project / path in Ignored(project)) is ignored


def test_what_lies_elsewhere_is_ignored(project: Path) -> None:
    assert project.parent / "other.py" in Ignored(project)


def test_ignored_folders_are_not_watched(project: Path) -> None:
    assert folders(project) == {project, project / "function", project / "data"}


@pytest_asyncio.fixture
async def saves(project: Path) -> AsyncIterator[asyncio.Queue[set[Path]]]:
    """Changes as they are told."""
    queue: asyncio.Queue[set[Path]] = asyncio.Queue()
    stop, watch = asyncio.Event(), ProjectWatch(project)

    async def gather() -> None:
        async for paths in watch.changes(stop):
            queue.put_nowait(paths)

    task = asyncio.create_task(gather())
    yield queue
    stop.set()
    await asyncio.wait_for(task, DEADLINE_S)
    watch.close()


async def test_a_save_is_told(project: Path, saves: asyncio.Queue[set[Path]]) -> None:
    (project / "function" / "__init__.py").write_text("x = 1")
    assert await asyncio.wait_for(saves.get(), DEADLINE_S) == {project / "function" / "__init__.py"}


async def test_what_is_ignored_is_not_told(project: Path, saves: asyncio.Queue[set[Path]]) -> None:
    (project / "out.log").write_text("x")
    (project / ".func" / "nats" / "store").write_text("x")
    (project / "func.yaml").write_text("x")
    assert await asyncio.wait_for(saves.get(), DEADLINE_S) == {project / "func.yaml"}


async def test_a_new_folder_is_watched_too(project: Path, saves: asyncio.Queue[set[Path]]) -> None:
    (project / "function" / "models").mkdir()
    assert project / "function" / "models" in await asyncio.wait_for(saves.get(), DEADLINE_S)
    (project / "function" / "models" / "a.py").write_text("x")
    assert await asyncio.wait_for(saves.get(), DEADLINE_S) == {project / "function" / "models" / "a.py"}


async def test_what_changed_before_anyone_asked_is_told(project: Path) -> None:
    watch = ProjectWatch(project)
    (project / "func.yaml").write_text("x")
    stop = asyncio.Event()
    async for paths in watch.changes(stop):
        assert paths == {project / "func.yaml"}
        stop.set()
    watch.close()


def test_bytecode_of_changed_modules_goes(tmp_path: Path) -> None:
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    for name in ("a.cpython-311.pyc", "a.cpython-312.pyc", "ab.cpython-311.pyc"):
        (cache / name).touch()
    forget_bytecode([tmp_path / "a.py", tmp_path / "data.json", tmp_path / "none.py"])
    assert [path.name for path in cache.iterdir()] == ["ab.cpython-311.pyc"]
