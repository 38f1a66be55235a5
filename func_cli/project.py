"""`Project`: a function's folder as the commands see it: its file, its spec, its private `.func/`.

What does not belong here: what the sections of func.yaml mean (`spec`), the interpreter (`environment`).
"""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from headrace.triggers.references import References

from .errors import MisuseError
from .spec import Spec

FILE = "func.yaml"
LOCAL_FILE = "func.local.yaml"
NUCLIO_FILE = "function.yaml"
PRIVATE = ".func"


class Project:
    """A function's folder.

    Args:
        path: The folder, or its func.yaml; made absolute.

    Attributes:
        path: The folder.
        file: Its func.yaml, or Nuclio's function.yaml where there is no func.yaml.

    Raises:
        MisuseError: There is no such folder, or no function in it.
    """

    def __init__(self, path: str | os.PathLike[str] = ".") -> None:
        given = Path(path).absolute()
        self.path = given.parent if given.is_file() else given
        for name in (FILE, NUCLIO_FILE):
            if (self.path / name).is_file():
                self.file = self.path / name
                return
        what = "found nothing there" if not self.path.exists() else "got none"
        raise MisuseError(
            f"function project: expected a {FILE}, {what} - at `{self.path}`",
            hint=f"func create {path} -t http" if not self.path.exists() else "func create <new folder> -t http",
        )

    def load(self, overrides: Sequence[str] = (), *, embedded: bool = False, envs: Sequence[str] = ()) -> Spec:
        """Read and check func.yaml, with func.local.yaml merged over it, then `overrides`.

        Args:
            overrides: `path=value` each, as `--set` takes them.
            embedded: NATS triggers and bindings use the embedded broker, whatever their `url`.
            envs: `NAME=value` or `NAME-` each, as `-e` takes them; over `run.envs`.

        Raises:
            SpecError: Naming what is wrong and where.
        """
        from .spec import read

        local = self.path / LOCAL_FILE
        return read(self.file, local if local.is_file() else None, overrides, embedded=embedded, variables=envs)

    @cached_property
    def private(self) -> Path:
        """`.func/`: secrets, virtual environment, the embedded broker's files; ignored by git."""
        folder = self.path / PRIVATE
        folder.mkdir(mode=0o700, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        return folder

    @property
    def secrets(self) -> Path:
        """Folder of local secrets: `name/key` files."""
        return self.path / PRIVATE / "secrets"

    def references(self, environ: Mapping[str, str] = os.environ) -> References:
        """What resolves `{{ ... }}` in this project."""
        return References(environ, self.secrets, self.path / PRIVATE / "config")

    def environment(self, spec: Spec, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """`run.envs` with references resolved: what replicas get on top of the platform's own variables.

        Raises:
            ReferenceMissing: A reference has no value here.
        """
        from .envs import resolve

        return resolve(spec.envs, self.references(environ), self.path / PRIVATE)
