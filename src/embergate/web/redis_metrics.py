"""Prometheus metrics of limits that are counted in Redis."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class RedisMetrics:
    """Whether Redis is there."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Declare the metrics; in a registry that nobody reads, if none is given."""
        registry = registry or CollectorRegistry()
        self.failures = Counter("embergate_redis_failures_total", "Times that Redis did not answer.", registry=registry)
        self._alone = Gauge(
            "embergate_redis_fallback",
            "1 while this server counts limits by itself, for want of Redis.",
            registry=registry,
        )

    def ask_whether_alone(self, is_alone: Callable[[], bool]) -> None:
        """Have the state asked for when the metrics are read."""
        self._alone.set_function(is_alone)
