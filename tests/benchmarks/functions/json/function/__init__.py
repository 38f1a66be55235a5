"""Answers `{"o": n}` to `{"n": n}`."""

from typing import Any

from headrace import Event


async def handle(event: Event) -> dict[str, Any]:
    return {"o": event.json()["n"]}
