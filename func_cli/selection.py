"""Which run a command means: the one named, or that of the project in the current folder.

What does not belong here: where runs are kept (runs), and what is done with one.
"""

from pathlib import Path

from .errors import CommandError, MisuseError, did_you_mean
from .runs import Registry, RunState


def select(name: str | None, registry: Registry, folder: Path | None = None) -> RunState:
    """The run called `name`, or without one the run of the project in `folder` (the working directory).

    Raises:
        CommandError: Nothing of that name runs, or nothing of that project.
        MisuseError: Several runs are of that project, or there is no project.
    """
    if name is not None:
        return _named(name, registry)
    place = (folder or Path()).resolve()
    own = [run for run in registry.running() if Path(run.project) == place]
    if len(own) == 1:
        return own[0]
    if own:
        names = ", ".join(f"`{run.name}`" for run in own)
        raise MisuseError(f"expected a NAME, got none, and {names} run from this folder - at `{place}`")
    if not any((place / file).is_file() for file in ("func.yaml", "function.yaml")):
        raise MisuseError(f"expected a NAME{_running(registry)}, or a function project - at `{place}`", "func list")
    raise CommandError(f"no function runs from `{place}`{_running(registry)}", "func run")


def _named(name: str, registry: Registry) -> RunState:
    if (run := registry.find(name)) is not None:
        return run
    known = [run.name for run in registry.running()]
    meant = did_you_mean(name, known)
    raise CommandError(f"no function called `{name}` runs here{meant or _running(registry)}", "func list")


def _running(registry: Registry) -> str:
    names = ", ".join(f"`{run.name}`" for run in registry.running())
    return f" (there are: {names})" if names else " (none does)"
