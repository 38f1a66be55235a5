"""HTTP as a trigger: its section of func.yaml. Requests are received by `runtime/http`, which is no `Source`."""
