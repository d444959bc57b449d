"""`OtelTracer`: spans by OpenTelemetry, sent by OTLP over HTTP. An extra, imported only where there is a collector.

Nothing is set globally, and a span holds only patterns, ids and names of ours: never a text, nor an error's message.

Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/ and https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from embergate import __version__
from embergate.web.middleware import UNMATCHED
from embergate.web.tracing import RequestSpan

CLOSING_S: Final = 5.0
PROPAGATOR: Final = TraceContextTextMapPropagator()


class OtelTracer:
    """Gathers spans, and sends them from a thread of its own."""

    def __init__(self, endpoint: str) -> None:
        """Send to a collector's base URL. The SDK reads more from its own variables: headers, sampler, resource."""
        resource = Resource.create({"service.name": "embergate", "service.version": __version__})
        resource = resource.merge(OTELResourceDetector().detect())  # what the environment says goes before that
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("embergate", __version__)

    @contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[RequestSpan]:
        """See `Tracer`."""
        # NOTE: into an empty context: that of a pipelined request's task has the span of the request before it.
        parent = PROPAGATOR.extract(headers, context=Context())
        attributes = {"http.request.method": method}
        with self._tracer.start_as_current_span(
            method,
            context=parent,
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield _RequestSpan(span, method)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """See `Tracer`."""
        with self._tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
            try:
                yield
            except Exception as error:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(StatusCode.ERROR)
                raise

    def close(self) -> None:
        """See `Tracer`."""
        # The SDK would wait for a collector that does not answer for half a minute.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSING_S)


class _RequestSpan:
    """See `RequestSpan`."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    @property
    def trace_id(self) -> str:
        return format_trace_id(self._span.get_span_context().trace_id)

    def tell(self, route: str, status: int, request_id: str) -> None:
        self._span.set_attributes({"http.response.status_code": status, "embergate.request_id": request_id})
        if route != UNMATCHED:
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attribute("http.route", route)
        if status >= 500:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(StatusCode.ERROR)
