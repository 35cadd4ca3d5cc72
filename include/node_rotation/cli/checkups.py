"""``node-rotation doctor``: every cluster is examined, also after one that can't even be reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from node_rotation import fleet
from node_rotation.checkup.doctor import Check, Finding, Severity, failed, receiver, unaddressed, unexpected
from node_rotation.checkup.examine import Patient, examine
from node_rotation.checkup.rights import Answer
from node_rotation.cli import render, session
from node_rotation.cli.exits import ExitCode
from node_rotation.cli.options import Output
from node_rotation.clients.read_only import ReadOnlyCloud, read_only
from node_rotation.errors import BlockedError, RotationError
from node_rotation.fleet import Settings
from node_rotation.kops.discovery import discover

Knows = Callable[[str], Answer]
LINE = 2000  # nobody's terminal: in a log a finding stays one line, to be searched for


def doctor(file: Path, output: Output, clusters: Sequence[str] | None) -> ExitCode:
    """Examine clusters; a blocking finding ends it with ``BLOCKED``."""
    known = fleet.load(file)
    every = [known.settings(name) for name in session.cluster_names(file, clusters)]
    knows = cache(session.airflow_knows)  # an Airflow takes seconds to answer, and clusters share their receivers
    found = [finding for settings in every for finding in _examined(settings, knows)]
    asked_as = {settings.name: arn for settings in every if (arn := _asked_as(settings))}
    if output is Output.JSON:
        names = [settings.name for settings in every]
        findings = [finding.model_dump(mode="json") for finding in found]
        render.write_json({"schema_version": 1, "clusters": names, "asked_as": asked_as, "findings": findings})
    else:
        _show([settings.name for settings in every], asked_as, found)
    return ExitCode.BLOCKED if any(f.severity is Severity.BLOCKING for f in found) else ExitCode.OK


def _examined(settings: Settings, knows: Knows) -> Sequence[Finding]:
    """Never raises: whatever is wrong with one cluster, the others have their turn."""
    what = f"cluster {settings.name}"
    try:
        return tuple(dict.fromkeys((*_looked_at(settings, what), *_receivers(settings, knows))))
    except Exception as error:  # a defect of ours, as of a single command
        return (unexpected(settings.name, what, error),)


def _receivers(settings: Settings, knows: Knows) -> Iterator[Finding]:
    """Who is to be told, looked for before there is something to tell; nothing is sent."""
    from node_rotation.clients.http import from_environment

    for one in settings.policy.notify:
        known = knows(one.http.connection)
        yield from receiver(settings.name, one.http.connection, known, beside=one.http.url is not None)
        if one.http.url is not None:
            try:
                from_environment(one.http)
            except BlockedError as error:
                yield unaddressed(settings.name, error.blocked)


def _looked_at(settings: Settings, what: str) -> Sequence[Finding]:
    try:
        reached, askers = read_only(*session.connect(settings)), session.askers(settings)
    except RotationError as error:
        return (failed(settings.name, Check.CREDENTIALS, what, error), *_aws_alone(settings, what))
    try:
        found = discover(settings, reached[0])
    except RotationError as error:
        return (failed(settings.name, Check.DISCOVERY, what, error),)
    return examine(Patient(found, *reached, *askers, session.wall_clock(), session.outside()))


def _aws_alone(settings: Settings, what: str) -> Sequence[Finding]:
    """What AWS says of a cluster whose API server can't be reached; nothing if that is AWS' fault as well."""
    try:
        cloud, account = session.account(settings.cluster.aws), session.aws_asker(settings)
        account.identity()
    except RotationError:
        return ()
    try:
        found = discover(settings, ReadOnlyCloud(cloud))
    except RotationError as error:
        return (failed(settings.name, Check.DISCOVERY, what, error),)
    return examine(Patient(found, ReadOnlyCloud(cloud), None, account, None, session.wall_clock(), session.outside()))


def _asked_as(settings: Settings) -> str:
    """Whom AWS takes us for: what an administrator may do says nothing of what Airflow's role may."""
    try:
        return session.aws_asker(settings).identity()
    except Exception:  # a finding says it already
        return ""


def _show(clusters: Sequence[str], asked_as: Mapping[str, str], found: Sequence[Finding]) -> None:
    out = render.console()
    if found:
        rows = ((f.cluster, f.severity, f.check, f.what, f.object, f.remedy) for f in found)
        table = render.table("cluster", "severity", "check", "what", "object", "remedy", rows=rows)
        if not out.is_terminal:
            out.width = LINE
        out.print(table)
    for name in clusters:
        counts = [sum(f.cluster == name and f.severity is severity for f in found) for severity in Severity]
        said = ", ".join(f"{count} {severity}" for count, severity in zip(counts, Severity, strict=True) if count)
        whom = f" AWS was asked as {asked_as[name]}." if name in asked_as else ""
        out.print(f"{name}: {said or 'nothing stands in the way of a rotation'}.{whom}", markup=False, soft_wrap=True)
