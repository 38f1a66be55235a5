"""A real broker, shared with the contract suite's way of starting it."""

from support.kafka import kafka as kafka
