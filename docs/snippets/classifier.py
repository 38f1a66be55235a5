"""function/__init__.py: a model over batches."""

import numpy as np

from headrace import Batch, Context


class Function:
    def start(self, context: Context) -> None:  # once per process, before the first event
        rng = np.random.default_rng(0)
        self.weights = rng.standard_normal((4, 3), dtype=np.float32)  # (features, classes)
        context.logger.info("model loaded device=%s", context.device.name)

    def handle(self, batch: Batch) -> list[dict[str, int]]:
        x = batch.tensor("float32", (4,))  # (events, features): the bytes as they came
        classes = (x @ self.weights).argmax(axis=1)
        return [{"class": int(one)} for one in classes]  # one result per event, in order

    def ready(self) -> tuple[bool, str]:
        return hasattr(self, "weights"), "the model is not loaded"

    def stop(self) -> None:  # after the last event
        del self.weights
