"""What `func run` was asked for, and func.yaml with that over it.

What does not belong here: how it is asked for (commands/run) and carried out (supervision).
"""

import msgspec

from .project import Project
from .spec import Spec


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `func run` was asked for.

    Attributes:
        name: Of the run.
        overrides: `path=value` each.
        envs: `NAME=value` or `NAME-` each.
        embedded: Use the embedded broker, whatever the triggers say.
        replicas: Keep exactly this many; None: as many as needed.
        reload: Go over to a new version when the project changes.
        verbose: Log more.
    """

    name: str
    overrides: tuple[str, ...] = ()
    envs: tuple[str, ...] = ()
    embedded: bool = False
    replicas: int | None = None
    reload: bool = False
    verbose: bool = False

    def load(self, project: Project) -> Spec:
        """The project's func.yaml as it is now, with what was asked for over it."""
        spec = project.load(self.overrides, embedded=self.embedded, envs=self.envs)
        if not (self.reload or spec.secure) or spec.scaler.scale.min_replica_count > 0:
            return spec
        # one replica stays: an edit is to be seen at once, and a TLS connection passes to no other process
        scale = msgspec.structs.replace(spec.scaler.scale, min_replica_count=1)
        return msgspec.structs.replace(spec, scaler=msgspec.structs.replace(spec.scaler, scale=scale))
