"""Prometheus metrics of the gateway, each room's its own, in one registry with those of the inference plane."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from embergate.engine.registry import Registry
from embergate.gateway.usage.metrics import UsageMetrics
from embergate.gateway.webhooks.metrics import WebhookMetrics
from embergate.jobs.metrics import JobMetrics


class GatewayMetrics:
    """What the rooms count with."""

    def __init__(self, registry: CollectorRegistry, models: Registry | None = None) -> None:
        """Declare the metrics of every room; `models` are those that the server was started with."""
        self.registry = registry
        self.usage = UsageMetrics(registry, models)
        self.webhooks = WebhookMetrics(registry)
        self.jobs = JobMetrics(registry)
