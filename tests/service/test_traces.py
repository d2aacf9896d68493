"""Spans that the service sends, as a collector of OpenTelemetry gets them."""

import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from autocompress.errors import InputError
from autocompress.service.traces import traces_of
from autocompress.tests.present import present
from autocompress.tests.service.served import served
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector(BaseHTTPRequestHandler):
    """Takes spans by OTLP over HTTP."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def collecting(monkeypatch):
    """The requests that a collector got."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.requests = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    try:
        yield server.requests  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


def spans_in(requests):
    """(name, attributes, seconds) of all spans, and the names of the services."""
    spans, services = [], set()
    for path, body in requests:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            services |= {
                one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
            }
            for scope in resource.scope_spans:
                for span in scope.spans:
                    values = {one.key: one.value for one in span.attributes}
                    spans.append(
                        (span.name, values, (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9)
                    )
    return spans, services


def test_requests_and_searches_are_spans_without_secrets(tmp_path, monkeypatch):
    with collecting(monkeypatch) as requests:
        traces = present(traces_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "set"}))
        with served(tmp_path, traces=traces) as site:
            token, worker = site.token(), site.token("w", "work")
            search = site.ask("POST", "/v1/searches", {"task": "digits", "trials": 3}, token=token).json["id"]
            site.ask("GET", "/v1/searches?text=hidden-words", token=token)
            site.ask("GET", "/login/oidc/done?code=hidden-code")
            site.ask("GET", "/healthz")
            job = site.ask("POST", "/v1/work/claim", {"worker": "w1"}, token=worker).json
            told = {"attempt": job["attempt"], "lines": [], "exit_code": 0}
            assert site.ask("POST", f"/v1/work/{search}/end", told, token=worker).status == 204
        traces.close()
        spans, services = spans_in(requests)
        everything = b"".join(body for _, body in requests)
    assert services == {"autocompress"}
    (span,) = (one for one in spans if one[0] == "search")
    values = {name.partition(".")[2]: one for name, one in span[1].items()}
    assert values["id"].string_value == search and values["task"].string_value == "digits"
    assert (values["state"].string_value, values["worker"].string_value) == ("finished", "w1")
    assert values["attempt"].int_value == 1 and span[2] >= 0
    names = [name for name, _, _ in spans]
    assert len(names) == 5  # four requests and the search
    for hidden in (token, worker, "hidden-words", "hidden-code"):
        assert hidden.encode() not in everything


def test_without_the_variables_nothing_is_traced(monkeypatch):
    assert traces_of({}) is None
    assert traces_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}) is None
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InputError, match=r"pip install 'autocompress\[otel\]'"):
        traces_of({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"})
