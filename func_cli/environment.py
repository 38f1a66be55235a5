"""The interpreter that runs a function: the one that runs us where it has all that is needed, else `.func/venv`.

A virtual environment is made once per content of the dependency files, Python and Headrace: `.func/venvs/<key>`, with
`.func/venv` leading to the last. Headrace is linked in from the running installation or clone, never installed from an
index. What does not belong here: reading the dependency files (`dependencies`).
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from packaging.requirements import Requirement

import headrace
from headrace.triggers.spec import kind_of

from . import dependencies
from .dependencies import Dependencies
from .errors import CommandError
from .project import Project
from .spec import Spec

Progress = Callable[[str], None]

_STAMP = ".headrace-stamp"  # written last: an environment without it is unfinished
_KEPT = 2  # environments: the current one, and the one that a function still running may use
_LAST_LINES = 15  # of the installer's output, when it fails


def interpreter(project: Project, spec: Spec, progress: Progress = lambda line: None) -> Path:
    """The Python that runs `project`'s replicas; makes its environment first if need be.

    Args:
        project: The function's folder.
        spec: Its checked func.yaml: triggers and bindings decide which extras of Headrace are needed.
        progress: Is told what goes on, line by line, when something is installed.

    Raises:
        CommandError: The installer failed; its last lines are in the message.
        SpecError: The dependency files cannot be read, or want another Python.
    """
    wanted = dependencies.read(project.path)
    extras = sorted(wanted.extras | _extras(spec))
    own = dependencies.own(extras)
    if not wanted.opaque and not any(dependencies.unmet([*wanted.requirements, *own])):
        return Path(sys.executable)
    home = project.private / "venvs"
    venv = home / _key(wanted, own)
    if not (venv / _STAMP).is_file():
        home.mkdir(exist_ok=True)
        with _locked(home / ".lock"):
            if not (venv / _STAMP).is_file():  # another command may have made it while we waited
                _make(venv, project.path, wanted, list(map(str, own)), progress)
                _prune(home, venv)
    _point(project.private / "venv", venv)
    return venv / "bin" / "python"


def _extras(spec: Spec) -> set[str]:
    """Extras of Headrace that the kinds of triggers and bindings need; those of plain HTTP are in every install."""
    kinds = {kind_of(part) for part in (*spec.runtime.triggers, *spec.runtime.bindings.values())}
    return kinds - {"http"}


def _key(wanted: Dependencies, own: Sequence[Requirement]) -> str:
    ours = [headrace.__version__, str(_package()), *map(str, own)]
    parts = [*wanted.lines, sys.version, sys.base_prefix, *ours]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _package() -> Path:
    """The running Headrace's folder."""
    return Path(headrace.__file__).parent.resolve()


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Hold a lock on `path` against other commands on the same project."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(venv: Path, project: Path, wanted: Dependencies, own: Sequence[str], progress: Progress) -> None:
    uv = _uv()
    progress(f"making an environment for {len(wanted.lines)} dependencies with {'uv' if uv else 'pip'}")
    shutil.rmtree(venv, ignore_errors=True)
    if uv:
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)], project, progress)
        install = [uv, "pip", "install", "--python", str(venv / "bin" / "python")]
    else:
        _run([sys.executable, "-m", "venv", str(venv)], project, progress)
        install = [str(venv / "bin" / "python"), "-m", "pip", "install", "--progress-bar", "off"]
    _link_headrace(venv)
    # One resolution for both, so that a conflict is found; with hashes pip wants one on every line, and ours have none.
    for number, lines in enumerate([wanted.lines, own] if wanted.hashed else [[*wanted.lines, *own]]):
        file = venv / f"requirements-{number}.txt"
        file.write_text("\n".join(lines) + "\n")
        _run([*install, "-r", str(file)], project, progress)
    (venv / _STAMP).touch()


def _uv() -> str | None:
    if (found := shutil.which("uv")) is not None:
        return found
    if importlib.util.find_spec("uv") is None:
        return None
    from uv import find_uv_bin

    return find_uv_bin()


def _link_headrace(venv: Path) -> None:
    """Put the running Headrace into `venv`, with metadata, so that installers see that it is there."""
    site = next((venv / "lib").glob("python3*/site-packages"))
    (site / "headrace").symlink_to(_package())
    info = site / f"headrace-{headrace.__version__}.dist-info"
    info.mkdir()
    metadata = importlib.metadata.distribution("headrace").read_text("METADATA") or ""
    (info / "METADATA").write_text(metadata)
    (info / "INSTALLER").write_text("headrace\n")
    (info / "RECORD").write_text("")


def _run(command: Sequence[str], folder: Path, progress: Progress) -> None:
    environ = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command, cwd=folder, env=environ | {"UV_PYTHON_DOWNLOADS": "never"}, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in map(str.rstrip, process.stdout):
            last.append(line)
            progress(line)
    if process.returncode != 0:
        shown = "\n".join(f"  {line}" for line in last)
        hint = "apt-get install python3-venv" if "ensurepip" in shown else None
        raise CommandError(
            f"dependencies: expected them to install, got exit code {process.returncode} - at `{folder}`:\n{shown}",
            hint,
        )


def _prune(home: Path, current: Path) -> None:
    """Remove all environments but the newest ones."""
    stamps = sorted(home.glob(f"*/{_STAMP}"), key=lambda stamp: stamp.stat().st_mtime, reverse=True)
    for stamp in stamps[_KEPT:]:
        if stamp.parent != current:
            shutil.rmtree(stamp.parent, ignore_errors=True)


def _point(link: Path, venv: Path) -> None:
    """Let `.func/venv` lead to `venv`: what editors are told to use."""
    target = Path("venvs") / venv.name
    if link.is_symlink() and link.readlink() == target:
        return
    beside = link.with_name(f".venv.{os.getpid()}")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(link)
