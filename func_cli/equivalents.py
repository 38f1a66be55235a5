"""What func.yaml can say twice: in Knative's spelling under `deploy.options`, and in ours.

One of the two is enough; both with different values are refused, naming both paths.
What does not belong here: checking the values themselves.
"""

from headrace.scaler.spec import quantity
from headrace.triggers.errors import SpecError

from .documents import Node

_Path = tuple[str, ...]

# Knative's path, ours, and whether 0 means "no bound" in Knative's (then it says nothing of ours).
_SAME: tuple[tuple[_Path, _Path, bool], ...] = (
    (("deploy", "options", "scale", "min"), ("scale", "minReplicaCount"), False),
    (("deploy", "options", "scale", "max"), ("scale", "maxReplicaCount"), True),
    (("deploy", "options", "resources", "limits", "concurrency"), ("concurrency", "inFlight"), True),
    *(
        (("deploy", "options", "resources", section, name), ("resources", section, name), False)
        for section in ("requests", "limits")
        for name in ("cpu", "memory")
    ),
)


def fold(root: Node) -> None:
    """Put what is said in Knative's spelling alone into our sections of `root`.

    Raises:
        SpecError: Both are given and differ.
    """
    for theirs, ours, zero_is_unbound in _SAME:
        given = root.get(*theirs)
        if given is None or (zero_is_unbound and given.value == 0):
            continue
        own = root.get(*ours)
        if own is None:
            _put(root, ours, given)
        elif not _equal(given.value, own.value):
            raise SpecError(
                f"expected the same at `$.{'.'.join(theirs)}` ({given.place}), "
                f"got `{given.value}` there and `{own.value}` here - at `$.{'.'.join(ours)}`"
            )


def _equal(theirs: object, ours: object) -> bool:
    if theirs == ours:
        return True
    try:
        return quantity(theirs) == quantity(ours)
    except ValueError:
        return False


def _put(root: Node, path: _Path, value: Node) -> None:
    node = root
    for key in path[:-1]:
        below = node.get(key)
        if below is None:
            below = node.value[key] = Node({}, value.place)
        if not isinstance(below.value, dict):
            return  # the check of that section says what is wrong
        node = below
    node.value[path[-1]] = value
