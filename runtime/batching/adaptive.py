"""Batches as large as a target latency allows: `AdaptiveSize`, from what `LatencyModel` learned.

No clocks and no timers: times are passed in. What does not belong here: who waits, and in which order.

Source: BentoML's dispatcher learns the same line by least squares; Clipper (NSDI 2017, §4.3) sizes batches by a
latency objective.
"""

import math

# 33 batches' worth of memory: a service that changes is followed within some 50 batches
_FORGETTING = 0.97
_SPREAD_FORGETTING = 0.9
# Until the slope is seen, a batch is thought to cost in proportion to its rows, which errs on the slow side for
# larger ones. The prior counts as much as sizes that differ by 3% of their mean.
_PRIOR_WEIGHT = 1e-3
# Samples further off than this many mean deviations are drawn in: one stall must not pass for a slow service
_OUTLIER_SPREADS = 4.0
_TRUST_SAMPLES = 8
# Arrivals are averaged over some 20 rows
_GAP_FORGETTING = 0.95


class LatencyModel:
    """Learns latency = a·n + b online: least squares with forgetting, robust against stalls.

    Attributes:
        per_row_s: a, never negative.
        fixed_s: b, never negative.
        samples: How many batches were learned from.
        largest: The largest batch among them.
    """

    def __init__(self) -> None:
        self.per_row_s = 0.0
        self.fixed_s = 0.0
        self.samples = 0
        self.largest = 0
        self._spread_s = 0.0
        self._weight = 0.0
        self._rows = self._seconds = self._rows_rows = self._rows_seconds = 0.0  # weighted sums

    def latency_s(self, rows: float) -> float:
        """What a batch of `rows` is expected to take."""
        return self.per_row_s * rows + self.fixed_s

    @property
    def margin_s(self) -> float:
        """What to allow for beside it: twice the mean deviation."""
        return 2 * self._spread_s

    def rows_within(self, seconds: float) -> float:
        """The largest batch that is expected to take no longer; below 1 where none is, infinity where any is."""
        room = seconds - self.fixed_s - self.margin_s
        if self.per_row_s > 0:
            return room / self.per_row_s + 1e-6  # rounding must not cost a row
        return math.inf if room >= 0 else 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """A batch of `rows` took `seconds`."""
        seconds = self._drawn_in(rows, seconds)
        keep = _FORGETTING
        self._weight = self._weight * keep + 1
        self._rows = self._rows * keep + rows
        self._seconds = self._seconds * keep + seconds
        self._rows_rows = self._rows_rows * keep + rows * rows
        self._rows_seconds = self._rows_seconds * keep + rows * seconds
        self.samples += 1
        self.largest = max(self.largest, rows)
        self._solve()

    def _drawn_in(self, rows: int, seconds: float) -> float:
        if self.samples < _TRUST_SAMPLES:
            return seconds
        expected = self.latency_s(rows)
        step = max(self._spread_s, expected / 20)
        off = abs(seconds - expected)
        # The spread itself may grow fast, so that a lasting change is soon believed
        self._spread_s += (min(off, 10 * step) - self._spread_s) * (1 - _SPREAD_FORGETTING)
        return min(seconds, expected + _OUTLIER_SPREADS * step)

    def _solve(self) -> None:
        rows, seconds = self._rows / self._weight, self._seconds / self._weight
        variance = max(0.0, self._rows_rows / self._weight - rows * rows)
        covariance = self._rows_seconds / self._weight - rows * seconds
        prior = _PRIOR_WEIGHT * rows * rows
        slope = max(0.0, (covariance + prior * seconds / rows) / (variance + prior))
        self.fixed_s = max(0.0, seconds - slope * rows)
        # Through the origin where the line would have a negative start
        self.per_row_s = slope if slope * rows <= seconds else self._rows_seconds / self._rows_rows


class AdaptiveSize:
    """A `Sizing` by which events are answered within a target.

    As large as lets the oldest event meet the target; but never smaller than what takes half of it, or load would
    make batches, and with them throughput, ever smaller. So all events meet the target while no more arrive than
    batches of that size can serve: each waits for one batch at most, and then is in the next. Where the oldest is
    too late already, the largest batch is the soonest way out of the backlog.
    It waits for another row only where that costs those present less than the fixed part of a batch, which the
    other is spared; so single requests are never held up for company that does not come.

    Args:
        target_s: From an event's receipt to its result.
    """

    def __init__(self, target_s: float) -> None:
        self.model = LatencyModel()
        self._target_s = target_s
        self._warm = False
        self._gap_s = target_s
        self._arrived = -math.inf

    def arrived(self, now: float) -> None:
        """An event was received."""
        gap = min(now - self._arrived, self._target_s)
        self._gap_s += (gap - self._gap_s) * (1 - _GAP_FORGETTING)
        self._arrived = now

    def ran(self, rows: int, seconds: float) -> None:
        """A batch of `rows` took `seconds`. The process's first warms caches and compilers: it tells nothing."""
        if self._warm:
            self.model.learn(rows, seconds)
        self._warm = True

    def plan(self, rows: int, received: float, now: float, limit: int) -> tuple[int, float]:
        """See `Sizing`."""
        size = self._size(now - received, limit)
        if rows >= size:
            return size, 0
        model = self.model
        if rows * self._gap_s >= model.fixed_s:
            return rows, 0
        # Twice the mean gap without an arrival: the next is not near after all
        latest = received + self._target_s - model.latency_s(rows + 1) - model.margin_s
        until = min(self._arrived + 2 * self._gap_s, latest)
        return (rows, 0) if now >= until else (0, until)

    def _size(self, waited_s: float, limit: int) -> int:
        model = self.model
        if not model.samples:
            return 1
        size = model.rows_within(self._target_s - waited_s)
        size = math.inf if size < 1 else max(size, model.rows_within(self._target_s / 2))
        # What lies far beyond the sizes seen is not known yet
        return int(min(size, 2 * model.largest, limit))
