"""function/func.py of a Knative project; runs as it is."""

import logging


def new():
    return Function()


class Function:
    async def handle(self, scope, receive, send):
        logging.info("asked for %s", scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [[b"content-type", b"text/plain"]]})
        await send({"type": "http.response.body", "body": b"OK"})

    def start(self, cfg):
        self.region = cfg.get("REGION", "unknown")

    def ready(self):
        return True, "Ready"
