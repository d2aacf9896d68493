"""Traces by OpenTelemetry: a span for each request, and one for each search from its start to its end.

They are sent when the usual variables say where: OTEL_EXPORTER_OTLP_ENDPOINT or
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT; OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_HEADERS and the others of the
specification are read by the library. Requests for probes, files of pages and logins, whose addresses have
codes, have no span; no span has a header, an argument of a task or a query.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from ..errors import InputError
from .queue.job import Job

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ASKING = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_UNTRACED = "/healthz,/readyz,/metrics,/static/,/login"
_QUERIES = ("url.query", "http.url", "http.target", "url.full")


class Traces:
    """Sends spans by a provider."""

    def __init__(self, provider: "TracerProvider"):
        self._provider = provider
        self._tracer = provider.get_tracer("autocompress")

    def around(self, app: ASGIApp) -> ASGIApp:
        """The app with a span for each request."""
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        traced: ASGIApp = OpenTelemetryMiddleware(
            app,
            excluded_urls=_UNTRACED,
            server_request_hook=_without_query,
            tracer_provider=self._provider,
            exclude_spans=["receive", "send"],
        )
        return traced

    def search(self, job: Job) -> None:
        """A span of what a search took, from the claim to the end of its last attempt."""
        if job.started is None or job.ended is None:
            return
        span = self._tracer.start_span(
            "search", start_time=_nanoseconds(job.started), attributes=dict(_attributes(job))
        )
        span.end(end_time=_nanoseconds(job.ended))

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()


def traces_of(variables: Mapping[str, str]) -> Traces | None:
    """Traces, if the environment asks for them. InputError where the library is missing."""
    if not any(variables.get(name) for name in ASKING) or variables.get("OTEL_SDK_DISABLED") == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InputError(
            f"{ASKING[0]} asks for traces, which need {error.name}: pip install 'autocompress[otel]', or "
            "unset it."
        ) from error
    named = variables.get("OTEL_SERVICE_NAME") or "autocompress"
    provider = TracerProvider(resource=Resource.create({"service.name": named}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)


def _without_query(span: Any, scope: Mapping[str, object]) -> None:
    """Takes what people filter by out of a span."""
    for name in _QUERIES:
        if name in (span.attributes or {}):
            span.set_attribute(name, str(scope.get("path", "")) if name != "url.query" else "")


def _attributes(job: Job) -> Mapping[str, str | int | float]:
    values: dict[str, str | int | float | None] = {
        "id": job.id,
        "owner": job.owner,
        "task": job.order.task,
        "target": job.order.target,
        "state": job.state,
        "worker": job.worker,
        "attempt": job.attempt,
        "exit_code": job.exit_code,
        "queued_s": None if job.started is None else max(0.0, job.started - job.created),
    }
    return {f"autocompress.{name}": value for name, value in values.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
