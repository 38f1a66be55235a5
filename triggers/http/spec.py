"""The section of func.yaml for `kind: http`."""

import msgspec

from ..protocols import Capabilities

CAPABILITIES = Capabilities(backlog=True, wake=True)


class HttpTrigger(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    tag_field="kind",
    tag="http",
):
    """Requests on the function's one listener.

    Attributes:
        name: Unique in the function.
    """

    name: str
