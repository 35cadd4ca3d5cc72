"""Tell people and programs what becomes of a rotation; whatever happens to a message, the rotation goes on."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node_rotation.clearance.freeze import Frozen, lift
from node_rotation.configuration.notify_policy import NoticeKind, Notify, Post
from node_rotation.errors import RotationError
from node_rotation.outcome import REASON_LENGTH, Blocked
from node_rotation.outside import Http

IN_TEXT = 3
"""So many lines are in the text; all are in ``what``."""
HEADLINES = {
    NoticeKind.APPROVAL: "a plan waits for approval",
    NoticeKind.BATCH_FAILED: "a batch failed",
    NoticeKind.FROZEN: "an image is frozen",
    NoticeKind.OK: "rotated",
    NoticeKind.FAILED: "the rotation failed",
    NoticeKind.BLOCKED: "the rotation is blocked",
    NoticeKind.POSTPONED: "not finished, the rest is left to a run to come",
    NoticeKind.SUPERSEDED: "nothing was touched",
    NoticeKind.NOT_BEGUN: "nothing was touched",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell.

    :param cluster: ``environment.cluster``.
    :param what: what happened, a line each; the same for whoever tells it again.
    :param objects: to which objects.
    :param remedy: what to do, one sentence.
    :param url: of the run's page.
    :param report: path of the report's page.
    """

    kind: NoticeKind
    cluster: str
    run: str
    what: tuple[str, ...]
    objects: tuple[str, ...] = ()
    remedy: str = ""
    url: str | None = None
    report: str | None = None

    @property
    def id(self) -> str:
        """The same for the same thing of the same run, whoever sends it, and whenever."""
        said = "\n".join((self.run, self.kind, *self.what))
        return hashlib.sha256(said.encode()).hexdigest()[:32]

    @property
    def text(self) -> str:
        """For people, escaped as Slack wants it."""
        more = len(self.what) - IN_TEXT
        lines = [*self.what[:IN_TEXT], *([f"and {more} more"] if more > 0 else [])]
        said = f"{self.cluster}: {HEADLINES[self.kind]}: {'; '.join(line.removesuffix('.') for line in lines)}."
        return html.escape(" ".join(filter(None, (said, self.remedy, self.url))), quote=False)

    @property
    def body(self) -> dict[str, Any]:
        """As it is posted."""
        own = {"id": self.id, "kind": self.kind.value, "cluster": self.cluster, "run": self.run, "url": self.url}
        said = {"what": list(self.what), "objects": list(self.objects), "remedy": self.remedy, "report": self.report}
        return {"text": self.text, **own, **said}


def ended(value: Mapping[str, Any], run: str) -> Notice | None:
    """How a run ended; None if it had nothing to do, and so did nothing.

    :param value: its report, from :func:`node_rotation.report.report`.
    """
    kind = outcome(value)
    cluster = f"{value['environment']}.{value['cluster']}"
    if kind is NoticeKind.OK:
        return Notice(kind, cluster, run, (f"{value['machines']} machines replaced",)) if value["passed"] else None
    what, objects, remedy = _troubles(value)
    return Notice(kind, cluster, run, what, objects, remedy)


def no_plan(cluster: str, run: str) -> Notice:
    """A run that ended before there was a plan."""
    what, remedy = ("there is no plan",), "Read the logs of the tasks detect and plan."
    return Notice(NoticeKind.FAILED, cluster, run, what, remedy=remedy)


def approval(cluster: str, run: str, machines: int, why: str) -> Notice:
    """A plan that somebody has to approve.

    :param why: what makes that necessary.
    """
    what = (f"{machines} machines wait for approval, because {why}",)
    return Notice(NoticeKind.APPROVAL, cluster, run, what, remedy="Approve or reject it.")


def batch_failed(cluster: str, run: str, batch: str, cause: Blocked, later: str) -> Notice:
    """A batch failed, and goes back.

    :param later: what becomes of the batches behind it, ``gate.on_failure``.
    """
    what = (f"batch {batch} failed: {cause.reason}", f"on_failure is {later} for those behind it")
    return Notice(NoticeKind.BATCH_FAILED, cluster, run, what, (f"batch {batch}", *cause.objects), cause.remedy)


def frozen(cluster: str, run: str, record: Frozen | None, cause: Blocked) -> Notice | None:
    """An image that is frozen because a batch failed on it; None if another batch, or somebody, froze it.

    :param record: what is recorded of the image now.
    :param cause: why the batch failed.
    """
    if record is None or record.by != run or record.reason != str(cause)[:REASON_LENGTH]:
        return None
    remedy = f"Build a better one; if it was not the image: {lift(record.image.id)}"
    return Notice(NoticeKind.FROZEN, cluster, run, (str(record),), (f"image {record.image.id}",), remedy)


def send(http: Http, receivers: Sequence[Notify], notice: Notice) -> tuple[str, ...]:
    """Post it to everybody who wants its kind, once each: who does not answer in time may have taken it.

    :returns: a line for each that was not told, or may not have been.
    """
    said = (_posted(http, receiver, notice) for receiver in receivers if notice.kind in receiver.kinds)
    return tuple(filter(None, said))


def _posted(http: Http, receiver: Notify, notice: Notice) -> str:
    to = receiver.http
    try:
        http.send(to, Post(body=notice.body))
    except RotationError as error:
        return f"notification {notice.kind} to {to.connection} was not sent: {error}"
    except Exception as error:  # whatever it is, it must not fail a rotation; its text may hold the secret
        return f"notification {notice.kind} to {to.connection} was not sent: {type(error).__name__}"
    return ""


def outcome(value: Mapping[str, Any]) -> NoticeKind:
    """How a run ended, by its report."""
    if why := value["not_begun"]:
        return NoticeKind.SUPERSEDED if why.startswith("superseded") else NoticeKind.NOT_BEGUN
    if value["ok"] and not value["blockers"]:
        return NoticeKind.OK
    if value["failed"]:
        return NoticeKind.FAILED
    if value["blocked"] or value["blockers"]:
        return NoticeKind.BLOCKED
    others = any(lines for name, lines in (value["verdict"] or {}).items() if name != "drift")
    return NoticeKind.POSTPONED if value["postponed"] and not others else NoticeKind.FAILED


def _troubles(value: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """What went wrong, to which objects, and what to do first."""
    stopped = [value["blocked"]] if value["blocked"] and not value["blockers"] else []  # the first blocker is both
    found = [*value["failed"], *stopped, *value["blockers"]]
    what = [f"{f['batch']}: {f['reason']}" if "batch" in f else str(f["reason"]) for f in found]
    what += [value["not_begun"]] if value["not_begun"] else []
    what += [f"{p['batch']}: {p['reason']}" for p in value["postponed"]]
    what += value["frozen"]
    if not value["blockers"]:
        what += [f"{kind}: {line}" for kind, lines in (value["verdict"] or {}).items() for line in lines]
    what += [f"{name} was not begun" for name in value["skipped"]] if not what else []
    objects = dict.fromkeys(o for f in found for o in f["objects"])
    return tuple(what), tuple(objects), next((str(f["remedy"]) for f in found if f["remedy"]), "")
