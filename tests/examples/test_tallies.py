"""Counters and histograms of one's own: told in the same words as those of `prometheus_client`."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from examples.tallies import Counts, Spreads

BOUNDS = (0.5, 1, 10)
SIZES = (0.1, 0.5, 0.6, 1.0, 9.99, 10, 11, 1e9)


def theirs() -> bytes:
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the package has no types for this one
    registry = CollectorRegistry()
    counter = Counter("posts", "Posts.", ["kind", "way"], registry=registry)
    counter.labels("a", "in").inc(3)
    counter.labels("b", "out")
    Counter("links", "Links.", registry=registry).inc(2.5)
    histogram = Histogram("wait_seconds", "Waits.", ["kind"], registry=registry, buckets=BOUNDS)
    for size in SIZES:
        histogram.labels("a").observe(size)
    histogram.labels("b")
    Histogram("size_bytes", "Sizes.", registry=registry, buckets=BOUNDS).observe(7)
    return generate_latest(registry)


def ours() -> bytes:
    registry = CollectorRegistry()
    counts = Counts("posts", "Posts.", ["kind", "way"])
    counts.labels("a", "in").inc()
    counts.labels("a", "in").inc(2)
    counts.labels("b", "out")
    links = Counts("links", "Links.", [])
    links.inc(2.5)
    spreads = Spreads("wait_seconds", "Waits.", ["kind"], bounds=BOUNDS)
    for size in SIZES:
        spreads.labels("a").observe(size)
    spreads.labels("b")
    sizes = Spreads("size_bytes", "Sizes.", [], bounds=BOUNDS)
    sizes.observe(7)
    for collector in (counts, links, spreads, sizes):
        registry.register(collector)
    return generate_latest(registry)


def test_what_is_told_is_byte_for_byte_what_the_package_tells() -> None:
    assert ours() == theirs()


def test_what_has_no_labels_is_told_from_the_start() -> None:
    registry = CollectorRegistry()
    registry.register(Counts("links", "Links.", []))
    registry.register(Spreads("size_bytes", "Sizes.", [], bounds=BOUNDS))

    text = generate_latest(registry).decode()

    assert "links_total 0.0" in text
    assert "size_bytes_count 0.0" in text


@pytest.mark.parametrize("values", [(), ("a",), ("a", "b", "c")])
def test_labels_that_are_missing_or_too_many_are_refused(values: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=f"posts has 2 labels, got {len(values)} values"):
        Counts("posts", "Posts.", ["kind", "way"]).labels(*values)
    with pytest.raises(ValueError, match=f"posts has 2 labels, got {len(values)} values"):
        Spreads("posts", "Posts.", ["kind", "way"], bounds=BOUNDS).labels(*values)
