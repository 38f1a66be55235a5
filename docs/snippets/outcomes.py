"""function/__init__.py: every way to end an event."""

import msgspec

from headrace import Ack, Event, Reject, Response, Retry


class Order(msgspec.Struct):
    id: str
    amount: float


class Busy(Exception):
    """The warehouse has no time."""


async def book(order: Order) -> str:
    if order.amount > 1000:
        raise Busy
    return f"booked {order.id}"


async def handle(event: Event) -> object:
    try:
        order = event.json(type=Order)
    except msgspec.DecodeError as exc:
        return Reject(f"no order: {exc}")  # it can never be handled
    if order.amount == 0:
        return Ack()  # done, and nothing to say
    try:
        return Response(await book(order), headers={"x-order": order.id})
    except Busy:
        return Retry(after_s=5)  # later, please
