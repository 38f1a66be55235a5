"""NATS JetStream: a pull source, a sink, the backlog, and the embedded broker."""
