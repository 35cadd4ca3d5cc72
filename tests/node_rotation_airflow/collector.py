"""An OpenTelemetry collector on loopback that remembers the last value of each gauge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from tests.node_rotation.loopback import Quiet, serving

Tags = frozenset[tuple[str, str]]


class Collector:
    """What it was sent, by name and tags."""

    def __init__(self) -> None:
        self.url = ""
        self.gauges: dict[tuple[str, Tags], float] = {}

    def value(self, name: str, **tags: str) -> float | None:
        """The last one of that name with exactly these tags; None if there was none."""
        return self.gauges.get((name, frozenset(tags.items())))

    def take(self, body: bytes) -> None:
        """One export of one process."""
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                for point in metric.gauge.data_points:
                    tags = frozenset((one.key, one.value.string_value) for one in point.attributes)
                    self.gauges[metric.name, tags] = point.as_double or float(point.as_int)


@contextmanager
def collecting() -> Iterator[Collector]:
    """It takes OTLP over HTTP, as protocol buffers."""
    collector = Collector()

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

    with serving(Handler) as address:
        collector.url = address
        yield collector
