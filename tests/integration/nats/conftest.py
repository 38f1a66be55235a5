"""A real `nats-server` for the tests of this folder."""

from support.nats import broker as broker
