"""What goes wrong with the processes or the cluster that replicas run on.

HeadraceError (triggers/errors.py)
└── PlatformError          a platform could not do what was decided (retriable)
    └── StartFailed        a replica ended or failed before it was ready
"""

from typing import ClassVar

from headrace.triggers.errors import HeadraceError


class PlatformError(HeadraceError):
    """A platform could not do what was decided."""

    retriable: ClassVar[bool] = True


class StartFailed(PlatformError):
    """A replica ended, or said that it failed, before it was ready."""
