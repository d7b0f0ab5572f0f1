"""Counters and histograms for one event loop: counting is an addition, and all the rest is done when somebody looks.

Those of `prometheus_client` take a lock for every number, because any thread may count, and a message causes a dozen
numbers. These take a fifth of the time (measured), and are collected like any others.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

__all__ = ["Count", "Counts", "Spread", "Spreads"]


class Count:
    """One number that only rises."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Count."""
        self.value += amount


class Counts(Collector):
    """A counter: one `Count` for each combination of labels.

    Args:
        name: Without ``_total``.
        tells: What it says, one sentence.
        label_names: Of its labels.
    """

    def __init__(self, name: str, tells: str, label_names: Sequence[str]) -> None:
        self.name = name
        self.label_names = tuple(label_names)
        self._tells = tells
        self._counts: dict[tuple[str, ...], Count] = {}
        if not label_names:
            self.labels()

    def labels(self, *values: str) -> Count:
        """The count of these labels, in the order of `label_names`; from now on it is told, be it zero."""
        count = self._counts.get(values)
        if count is None:
            _check(self.name, self.label_names, values)
            count = self._counts[values] = Count()
        return count

    def inc(self, amount: float = 1) -> None:
        """Count, where there are no labels."""
        self.labels().inc(amount)

    def collect(self) -> Iterable[CounterMetricFamily]:
        """What a registry asks for."""
        family = CounterMetricFamily(self.name, self._tells, labels=self.label_names)
        for values, count in self._counts.items():
            family.add_metric(values, count.value)
        yield family


class Spread:
    """How often which size was seen."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, size: float) -> None:
        """See one."""
        self.counts[bisect_left(self._bounds, size)] += 1
        self.total += size


class Spreads(Collector):
    """A histogram: one `Spread` for each combination of labels.

    Args:
        name: Of it.
        tells: What it says, one sentence.
        label_names: Of its labels.
        bounds: Upper ends of its buckets, rising; what is above is counted, too.
    """

    def __init__(self, name: str, tells: str, label_names: Sequence[str], *, bounds: Sequence[float]) -> None:
        self.name = name
        self.label_names = tuple(label_names)
        self._tells = tells
        self._bounds = tuple(bounds)
        self._spreads: dict[tuple[str, ...], Spread] = {}
        if not label_names:
            self.labels()

    def labels(self, *values: str) -> Spread:
        """The spread of these labels; see `Counts.labels`."""
        spread = self._spreads.get(values)
        if spread is None:
            _check(self.name, self.label_names, values)
            spread = self._spreads[values] = Spread(self._bounds)
        return spread

    def observe(self, size: float) -> None:
        """See one, where there are no labels."""
        self.labels().observe(size)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """What a registry asks for."""
        family = HistogramMetricFamily(self.name, self._tells, labels=self.label_names)
        ends = [*(repr(float(bound)) for bound in self._bounds), "+Inf"]
        for values, spread in self._spreads.items():
            buckets = list(zip(ends, map(float, accumulate(spread.counts)), strict=True))
            family.add_metric(values, buckets, spread.total)
        yield family


def _check(name: str, label_names: Sequence[str], values: Sequence[str]) -> None:
    if len(values) != len(label_names):
        raise ValueError(f"{name} has {len(label_names)} labels, got {len(values)} values")
