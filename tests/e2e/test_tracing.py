"""Spans of a real server, as a collector gets them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.e2e.server import KEY, Server
from tests.listener import Listener

WRITTEN = "xyzzyplugh"  # in all that a caller writes below
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STAGES = {"tokenize", "reserve", "queue_and_forward", "encode", "settle"}


@pytest.fixture
def collector() -> Iterator[Listener]:
    with Listener() as listening:
        listening.status = 200
        yield listening


def spans_in(collector: Listener) -> list[Span]:
    found: list[Span] = []
    for headers, body in collector.seen:
        assert headers["content-type"] == "application/x-protobuf"
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {one.key: one.value.string_value for one in of_resource.resource.attributes}
            assert names["service.name"] == "embergate"
            for of_scope in of_resource.scope_spans:
                assert of_scope.scope.name == "embergate"
                found += of_scope.spans
    return found


def attributes_of(span: Span) -> dict[str, str | int]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_request_is_a_span_with_its_stages_in_the_callers_trace(
    tiny_model: str, tmp_path: Path, collector: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = collector.url.removesuffix("/hook")
    # Which another library would take for itself.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", base)
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    with Server(tmp_path, models=tiny_model, self_check="false", log_level="debug", otlp_endpoint=base) as server:
        server.ready()
        with server.client(traceparent=f"00-{TRACE_ID}-{PARENT_ID}-01") as client:
            model = client.get("/v1/models").json()["data"][0]["id"]
            body = {"model": model, "input": f"the fox and the {WRITTEN}"}
            answered = client.post("/v1/embeddings", json=body, params={"q": WRITTEN})
            refused = client.post("/v1/embeddings", json={**body, "input": [[WRITTEN]]})
            client.get(f"/{WRITTEN}")
        assert answered.status_code == 200
        assert server.stop() == 0
    assert set(collector.paths) == {"/v1/traces"}
    spans = spans_in(collector)
    assert {span.trace_id.hex() for span in spans} == {TRACE_ID}
    (span,) = [
        one for one in spans if attributes_of(one).get("embergate.request_id") == answered.headers["x-request-id"]
    ]
    assert (span.name, span.kind, span.parent_span_id.hex()) == ("POST /embeddings", Span.SPAN_KIND_SERVER, PARENT_ID)
    assert attributes_of(span) == {
        "http.request.method": "POST",
        "http.route": "/embeddings",
        "http.response.status_code": 200,
        "embergate.request_id": answered.headers["x-request-id"],
    }
    stages = [one for one in spans if one.parent_span_id == span.span_id]
    assert {stage.name for stage in stages} == STAGES
    for stage in stages:
        assert span.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano
    by_name = {one.name: attributes_of(one) for one in spans}
    assert by_name["GET /models"]["http.response.status_code"] == 200
    assert "http.route" not in by_name["GET"]  # there is no such path
    assert not any("/health" in name for name in by_name)
    assert refused.headers["x-request-id"] in str(spans)
    sent = b"".join(body for _, body in collector.seen)
    assert WRITTEN.encode() not in sent
    assert KEY.encode() not in sent
    assert any(f'"trace_id": "{TRACE_ID}"' in line for line in server.lines)


def test_stage_that_fails_is_marked_and_its_message_is_kept_back(
    tiny_model: str, tmp_path: Path, collector: Listener
) -> None:
    base = collector.url.removesuffix("/hook")
    with Server(tmp_path, models=tiny_model, self_check="false", otlp_endpoint=base) as server:
        server.ready()
        with server.client() as client:
            model = client.get("/v1/models").json()["data"][0]["id"]
            assert client.post("/v1/embeddings", json={"model": model, "input": [[10**9]]}).status_code == 400
        server.stop()
    (failed,) = [span for span in spans_in(collector) if span.name == "tokenize"]
    assert attributes_of(failed) == {"error.type": "InvalidRequestError"}
    assert (failed.status.message, list(failed.events)) == ("", [])


def test_server_whose_collector_is_away_answers_and_stops(tiny_model: str, tmp_path: Path) -> None:
    with Server(tmp_path, models=tiny_model, self_check="false", otlp_endpoint="http://127.0.0.1:9") as server:
        server.ready()
        with server.client() as client:
            assert client.get("/v1/models").status_code == 200
        assert server.stop() == 0
    assert KEY not in "\n".join(server.lines)


def test_server_without_a_collector_imports_nothing_for_one() -> None:
    script = (
        "import sys, embergate.cli.serving as serving; from embergate.settings import Settings; "
        "assert serving.open_tracer(Settings()) is None; "
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout == "[]\n"
