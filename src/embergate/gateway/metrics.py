"""Prometheus metrics of the gateway, each room's its own, in one registry with those of the inference plane."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from embergate.gateway.usage.metrics import UsageMetrics
from embergate.gateway.webhooks.metrics import WebhookMetrics


class GatewayMetrics:
    """What the rooms count with."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare the metrics of every room."""
        self.registry = registry
        self.usage = UsageMetrics(registry)
        self.webhooks = WebhookMetrics(registry)
