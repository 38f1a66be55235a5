"""Kafka: a consumer group's member as a source, a sink, and the backlog."""
