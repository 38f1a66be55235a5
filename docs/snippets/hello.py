"""function/__init__.py: a greeting for whoever the request names."""

from headrace import Event


async def handle(event: Event) -> dict[str, str]:
    person = event.json()
    return {"message": f"Hello, {person['name']}!"}
