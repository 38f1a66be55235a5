"""Tells the type of files: bytes in, what they are out, by a neural network over batches of events."""

from headrace import Batch

from .model import FileTypes


class Function:
    """One per process: the model is loaded once, before the first event is taken."""

    def start(self) -> None:
        """Load the model."""
        self.model = FileTypes()

    def handle(self, batch: Batch) -> list[dict[str, object]]:
        """One result per event, in order; each goes to the trigger's sink as JSON.

        The header `file-name`, where the publisher gave one, comes back as `name`.
        """
        types = self.model.identify(batch.values)
        return [
            {"name": event.headers.get("file-name"), "size": event.data.nbytes, **found}
            for event, found in zip(batch, types, strict=True)
        ]
