"""Prometheus metrics of one server process. Labels are route patterns and models' public names: never
an account, never anything a caller wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

SECONDS_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
FILL_BUCKETS: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class Metrics:
    """The metrics of the inference plane, in the registry of the app: two apps in one process do not share counters."""

    content_type: Final = CONTENT_TYPE_LATEST

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Declare the metrics, beside those that the registry has; in one of their own, if none is given."""
        self.registry = registry or CollectorRegistry()
        self.requests = Counter(
            "embergate_requests_total", "HTTP requests answered.", ["route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "embergate_request_seconds",
            "Seconds from the request's first byte to the answer's last.",
            ["route"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.tokens = Counter(
            "embergate_tokens_total", "Tokens run, special tokens included.", ["model"], registry=self.registry
        )
        self.inputs = Counter(
            "embergate_inputs_total", "Texts embedded and documents scored.", ["model"], registry=self.registry
        )
        self.stage_seconds = Histogram(
            "embergate_stage_seconds",
            "Seconds that a request spent in a stage: tokenizer_queue, tokenizer, queue, forward, encode.",
            ["stage"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.batch_fill = Histogram(
            "embergate_batch_fill_ratio",
            "Real tokens among the padded tokens of a forward pass.",
            buckets=FILL_BUCKETS,
            registry=self.registry,
        )
        self.batch_tokens = Histogram(
            "embergate_batch_tokens",
            "Padded tokens of a forward pass.",
            buckets=(8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384),
            registry=self.registry,
        )
        self.queued_tokens = Gauge(
            "embergate_queued_tokens",
            "Tokens waiting for a batch; a text that is not tokenised yet counts with a quarter of its characters.",
            registry=self.registry,
        )
        self.in_flight = Gauge("embergate_requests_in_flight", "Requests queued or running.", registry=self.registry)
        self.memory = Gauge(
            "embergate_model_memory_bytes",
            "A model's memory at its load: weights as served; growth of resident and of anonymous memory; the peak of it.",
            ["model", "kind"],
            registry=self.registry,
        )

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request; status 499 is a client that left."""
        self.requests.labels(route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def set_memory(self, model: str, figures: Mapping[str, int | None]) -> None:
        """Publish what is known of a model's memory; figures are named `<kind>_bytes`."""
        for name, value in figures.items():
            if value is not None:
                self.memory.labels(model, name.removesuffix("_bytes")).set(value)

    def render(self) -> bytes:
        """Return the exposition text of all that is in the registry."""
        return generate_latest(self.registry)
