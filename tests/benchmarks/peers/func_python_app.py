"""func-python: answers `{"o": n}` to `{"n": n}`; the address is in LISTEN_ADDRESS."""

import json
from typing import Any

from func_python.http import serve


class Function:
    """A Knative function."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        answer = json.dumps({"o": json.loads(body)["n"]}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [[b"content-type", b"application/json"]]})
        await send({"type": "http.response.body", "body": answer})


def new() -> Function:
    return Function()


serve(new)
