"""Requests to a function that has no HTTP trigger: `UnservedEndpoint` says so.

Health and metrics are answered all the same (`probes`). What does not belong here: functions that have one.
"""

from .exchange import Exchange


class UnservedEndpoint:
    """`exchange.Endpoint` that answers 404.

    Args:
        function: Its name.
    """

    streams_body = False
    owns_metrics_path = False
    admit = None

    def __init__(self, function: str) -> None:
        self._reason = f"function `{function}` has no http trigger"

    def handle(self, exchange: Exchange) -> None:
        exchange.fail(404, self._reason)
