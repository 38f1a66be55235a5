"""The batch size that fits into the device's memory, learned from batches that did not: `MemoryLimit`.

What does not belong here: telling that memory ran out (`Device`), and running what did not fit again.
"""

# Batches at the limit, all of which fitted, before it is raised by an eighth: memory that others hold for a
# while (another model, fragments) comes back, and each trial that fails costs a batch that is run twice.
_FITS_BEFORE_GROWTH = 100


class MemoryLimit:
    """Falls to what is known to fit, or to half, when a batch did not; grows slowly while batches do.

    Args:
        maximum: `maxBatchSize`.

    Attributes:
        size: Rows that a batch may have at present.
        exhausted: How often memory ran out.
    """

    __slots__ = ("_fits", "_largest_fit", "_maximum", "exhausted", "size")

    def __init__(self, maximum: int) -> None:
        self.size = maximum
        self.exhausted = 0
        self._maximum = maximum
        self._largest_fit = 0
        self._fits = 0

    def ran_out(self, rows: int) -> None:
        """A batch of `rows` did not fit."""
        self.exhausted += 1
        self._fits = 0
        if not 0 < self._largest_fit < rows:  # nothing is known to fit, or no longer does
            self._largest_fit = 0
        self.size = max(1, min(self.size, max(self._largest_fit, rows // 2)))

    def fitted(self, rows: int) -> None:
        """A batch of `rows` did fit."""
        if rows > self._largest_fit:
            self._largest_fit = rows
        if self.size == self._maximum or rows < self.size:
            return
        self._fits += 1
        if self._fits >= _FITS_BEFORE_GROWTH:
            self._fits = 0
            self.size = min(self._maximum, self.size + max(1, self.size // 8))
