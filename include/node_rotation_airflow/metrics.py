"""Gauges of drift and of each run's end, through Airflow's own metrics; docs/metrics.md lists them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logging import Logger

    from node_rotation.fleet import Settings
    from node_rotation.model import GroupDrift

FLUSH_MS = 5_000


@dataclass(frozen=True, slots=True)
class Gauge:
    """One number as it is now.

    :param name: without Airflow's own prefix.
    :param tags: what it is of.
    """

    name: str
    value: float
    tags: Mapping[str, str] = field(default_factory=dict)


def of_drift(settings: Settings, found: GroupDrift) -> Iterator[Gauge]:
    """What a look at one node group saw."""
    tags = _cluster(settings.environment, settings.cluster.name) | {"group": found.group}
    yield Gauge("node_rotation.machines", found.machines, tags)
    if found.target:  # else nobody can say
        yield Gauge("node_rotation.machines_drifted", len(found.drifted), tags)


def of_report(report: Mapping[str, Any], *, tonight: bool) -> Iterator[Gauge]:
    """How a run ended; one that was superseded did nothing wrong and nothing at all, so ``run_ok`` stays as it was.

    :param report: from :func:`node_rotation.report.report`, of a run that was to do more than plan.
    :param tonight: it was for the image of now; what a past night's image is right for may have drifted by now.
    """
    from node_rotation.configuration.notify_policy import NoticeKind
    from node_rotation.notify import outcome

    tags = _cluster(report["environment"], report["cluster"])
    ended = outcome(report)
    if ended is not NoticeKind.SUPERSEDED:
        yield Gauge("node_rotation.run_ok", int(ended is NoticeKind.OK), tags)
    yield Gauge("node_rotation.run_ended", _seconds(report["finished_at"]), tags | {"outcome": ended.value})
    yield Gauge("node_rotation.run_duration", report["duration_s"], tags)
    for result in ("passed", "failed", "skipped", "postponed"):
        yield Gauge("node_rotation.run_batches", len(report[result]), tags | {"result": result})
    if verdict := report["verdict"]:
        for kind, lines in verdict.items():
            yield Gauge("node_rotation.run_left", len(lines), tags | {"kind": kind})
        if tonight and not verdict["drift"]:  # what the check said before is over
            for group in report["targets"]:
                yield Gauge("node_rotation.machines_drifted", 0, tags | {"group": group})


def send(gauges: Iterable[Gauge], log: Logger | Any) -> None:
    """Give them to Airflow's metrics, wherever those go; a run is never the worse for it."""
    from airflow.sdk.observability import stats

    try:
        for gauge in gauges:
            stats.gauge(gauge.name, gauge.value, tags=dict(gauge.tags))
        _flush()
    except Exception as error:
        log.warning("metrics were not sent: %s: %s", type(error).__name__, error)


def _flush() -> None:
    """A task's process ends without its exit handlers, and OpenTelemetry sends once a minute."""
    from opentelemetry import metrics

    flush = getattr(metrics.get_meter_provider(), "force_flush", None)
    if flush:
        flush(FLUSH_MS)


def _cluster(environment: str, cluster: str) -> dict[str, str]:
    return {"environment": environment, "cluster": cluster}


def _seconds(said: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(said).timestamp()
