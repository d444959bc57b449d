"""Whether there are spans at all, and that requests of one connection do not mix theirs."""

from __future__ import annotations

import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from embergate.app.tracing import open_tracer
from embergate.errors import ConfigurationError
from embergate.settings import Settings
from embergate.web.otel import OtelTracer
from tests.listener import Listener


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "embergate.web.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=r"EMBERGATE_OTLP_ENDPOINT needs the extra: .*embergate\[otel\]"):
        open_tracer(Settings(otlp_endpoint="http://localhost:4318"))


@pytest.mark.parametrize("url", ["localhost:4318", "grpc://localhost:4317", "http://", "http://host/?token=x"])
def test_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="EMBERGATE_OTLP_ENDPOINT must be the base URL"):
        open_tracer(Settings(otlp_endpoint=url))


def test_request_that_names_no_trace_begins_one_of_its_own() -> None:
    """Also in the context of another request's span, which a pipelined request's task has."""
    earlier = TracerProvider(shutdown_on_exit=False).get_tracer("earlier")
    with Listener() as collector:
        collector.status = 200
        tracer = OtelTracer(collector.url)
        with earlier.start_as_current_span("GET /earlier") as other, tracer.request("GET", {}) as span:
            assert span.trace_id != trace.format_trace_id(other.get_span_context().trace_id)
        tracer.close()
    assert len(collector.seen) == 1
