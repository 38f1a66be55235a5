"""Which changes of a project call for a new version of its running function.

What does not belong here: making and starting that version (supervision).
"""

import asyncio
import fnmatch
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from watchfiles._rust_notify import RustNotify  # documented as watchfiles' low-level API; without anyio

_IGNORED = frozenset(
    {".func", ".git", ".hg", "__pycache__", ".venv", "venv", "node_modules", ".mypy_cache", ".pytest_cache"}
    | {".ruff_cache", ".idea", ".vscode"}
)
# Editors' swap and backup files: vim's `4913` probe and `~`, Emacs' `.#`, JetBrains' `___jb_tmp___`.
_TEMPORARY = ("*.pyc", "*.swp", "*.swx", "*~", "4913", ".#*", "#*#", "*___jb_tmp___", "*___jb_old___", ".DS_Store")
# A save is one to three file system events within milliseconds; waiting longer would be felt.
_QUIET_MS = 50
_GATHER_MS = 200
_POLL_MS = 300  # where the system has no notifications


class Ignored:
    """Tells files that a running function does not depend on.

    Args:
        project: The folder; its .funcignore (as .gitignore, without `**`) names further ones.
    """

    def __init__(self, project: Path) -> None:
        self._project = project
        file = project / ".funcignore"
        lines = file.read_text().splitlines() if file.is_file() else []
        self._patterns = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]

    def __contains__(self, path: Path) -> bool:
        try:
            relative = path.relative_to(self._project)
        except ValueError:
            return True
        if _IGNORED.intersection(relative.parts) or any(fnmatch.fnmatch(path.name, one) for one in _TEMPORARY):
            return True
        ignored = False
        for pattern in self._patterns:
            keep = pattern.startswith("!")
            if _matches(relative, pattern.removeprefix("!")):
                ignored = not keep  # the last that matches decides, as in .gitignore
        return ignored


def _matches(relative: Path, pattern: str) -> bool:
    anchored = "/" in pattern.rstrip("/")
    bare = pattern.strip("/")
    places = [relative, *relative.parents][:-1]
    return any(fnmatch.fnmatch(str(place) if anchored else place.name, bare) for place in places)


def folders(project: Path) -> set[Path]:
    """The project's folders that a running function depends on: `.func/`, which its broker writes to, is none."""
    ignored = Ignored(project)
    found = {project}
    for place, names, _ in os.walk(project):
        names[:] = [name for name in names if Path(place, name) not in ignored]
        found.update(Path(place, name) for name in names)
    return found


class ProjectWatch:
    """Watches a project from now on.

    Args:
        project: The folder.
    """

    def __init__(self, project: Path) -> None:
        self._project = project
        self._folders = folders(project)
        self._watcher = _watch(self._folders)

    async def changes(self, stop: asyncio.Event) -> AsyncIterator[set[Path]]:
        """Files that were changed, made or removed since the start, a save at a time, until `stop`.

        What changes while the caller is busy comes with the next.
        """
        while not isinstance(found := await self._next(stop), str):
            if (there := folders(self._project)) != self._folders:
                self._watcher.close()
                # first the watch, then the news: what is put into a new folder from now on is seen
                self._folders, self._watcher = there, _watch(there)
            ignored = Ignored(self._project)
            if paths := {path for path in map(Path, (place for _, place in found)) if path not in ignored}:
                yield paths

    def close(self) -> None:
        """Watch no more."""
        self._watcher.close()

    async def _next(self, stop: asyncio.Event) -> set[tuple[int, str]] | str:
        """The next changes; a word where there is an end."""
        try:
            return await asyncio.to_thread(self._watcher.watch, _GATHER_MS, _QUIET_MS, 0, stop)
        except asyncio.CancelledError:
            stop.set()  # ends the thread
            raise


def _watch(watched: Iterable[Path]) -> RustNotify:
    places = [str(folder) for folder in watched if folder.is_dir()]
    return RustNotify(places, False, False, _POLL_MS, False, True)


def forget_bytecode(paths: Iterable[Path]) -> None:
    """Remove the bytecode of changed modules.

    Python compares a source's size and its time in whole seconds (PEP 552): of two edits within a second that
    leave the size as it is, the second would not be seen.
    """
    for path in paths:
        if path.suffix == ".py":
            for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                stale.unlink(missing_ok=True)
