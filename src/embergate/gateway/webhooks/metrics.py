"""Prometheus metrics of the outbox."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class WebhookMetrics:
    """What waits in the outbox, and what came of what was sent."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare the metrics."""
        self.waiting = Gauge(
            "embergate_webhook_waiting_messages",
            "Messages in the outbox when it was last gone through.",
            registry=registry,
        )
        self.delivered = Counter(
            "embergate_webhook_delivered_messages_total", "Messages that were taken.", registry=registry
        )
        self.failed = Counter(
            "embergate_webhook_failed_attempts_total", "Attempts at which a message was not taken.", registry=registry
        )
        self.given_up = Counter(
            "embergate_webhook_given_up_messages_total", "Messages that nobody took for a day.", registry=registry
        )
