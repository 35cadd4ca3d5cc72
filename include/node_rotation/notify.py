"""Tell people and programs what became of a rotation; whatever happens to a message, the rotation goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node_rotation.configuration.notify_policy import HttpNotify, Kind, Notify, Post
from node_rotation.errors import RotationError, TransientError
from node_rotation.outcome import Blocked
from node_rotation.outside import Http

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell.

    :param facts: JSON values; ``text`` and ``kind`` are added to them.
    """

    kind: Kind
    text: str
    facts: Mapping[str, Any]

    @property
    def body(self) -> dict[str, Any]:
        """As it is posted."""
        return {"text": self.text, "kind": self.kind.value, **self.facts}


def ended(value: Mapping[str, Any], run: str, url: str | None = None, report: str | None = None) -> tuple[Notice, ...]:
    """What there is to tell of a run that is over; nothing if it had nothing to do.

    :param value: its report, from :func:`node_rotation.report.report`.
    :param url: of the run's page.
    :param report: path of the report's page.
    """
    cluster = f"{value['environment']}.{value['cluster']}"
    facts: dict[str, Any] = {"cluster": cluster, "run": run, "url": url, "report": report}
    notices = []
    if value["frozen"]:
        text = _text(f"{cluster}: an image is frozen: {'; '.join(value['frozen'])}", url)
        notices.append(Notice(Kind.FROZEN, text, {**facts, "what": list(value["frozen"]), "objects": [], "remedy": ""}))
    done = value["ok"] and not value["not_begun"]
    if done and value["machines"]:
        what = f"{value['machines']} machines replaced in {value['duration_s']:.0f} s"
        text = _text(f"{cluster}: rotated: {what}", url)
        notices.append(Notice(Kind.DONE, text, {**facts, "what": [what], "objects": [], "remedy": ""}))
    if not done:
        what, objects, remedy = _troubles(value)
        text = _text(f"{cluster}: not finished: {'; '.join(what)}", url)
        notices.append(Notice(Kind.FAILED, text, {**facts, "what": what, "objects": objects, "remedy": remedy}))
    return tuple(notices)


def waits(cluster: str, run: str, machines: int, why: str, url: str | None = None) -> Notice:
    """A plan that somebody has to approve.

    :param why: what makes that necessary.
    """
    what = f"{machines} machines wait for approval, because {why}"
    facts = {"cluster": cluster, "run": run, "url": url, "report": None, "what": [what], "objects": []}
    return Notice(Kind.APPROVAL, _text(f"{cluster}: {what}", url), {**facts, "remedy": "Approve or reject it."})


def held(cluster: str, run: str, batch: str, cause: Blocked, url: str | None = None) -> Notice:
    """A batch failed, and those behind it wait for somebody.

    :param cause: what failed it.
    """
    what = f"batch {batch} failed, later batches are held: {cause.reason}"
    facts = {"cluster": cluster, "run": run, "url": url, "report": None, "what": [what], "objects": list(cause.objects)}
    return Notice(Kind.HELD, _text(f"{cluster}: {what}", url), {**facts, "remedy": cause.remedy})


def send(http: Http, receivers: Sequence[Notify], notices: Sequence[Notice], tell: Tell) -> None:
    """Post each to everybody who wants its kind; no answer is tried once more, what can't be sent is told.

    :param tell: takes one line for the log.
    """
    for notice in notices:
        for receiver in receivers:
            if notice.kind in receiver.on:
                _post(http, receiver.http, notice, tell)


def _post(http: Http, to: HttpNotify, notice: Notice, tell: Tell) -> None:
    call = Post(path=to.path, body=notice.body)
    try:
        try:
            http.send(to, call)
        except TransientError:
            http.send(to, call)
    except RotationError as error:
        tell(f"notification {notice.kind} to {to.connection} was not sent: {error}")
    except Exception as error:  # whatever it is, e.g. the connection's own: it must not fail a rotation
        tell(f"notification {notice.kind} to {to.connection} was not sent: {type(error).__name__}")


def _troubles(value: Mapping[str, Any]) -> tuple[list[str], list[str], str]:
    """What went wrong, to which objects, and what to do first."""
    found = [*value["failed"], *([value["blocked"]] if value["blocked"] else [])]
    what = [f"{f['batch']}: {f['reason']}" if "batch" in f else str(f["reason"]) for f in found]
    what += [f"nothing was touched: {value['not_begun']}"] if value["not_begun"] else []
    what += [f"{p['batch']} is left to a run to come: {p['reason']}" for p in value["postponed"]]
    what += [f"{kind}: {line}" for kind, lines in (value["verdict"] or {}).items() for line in lines]
    what += [f"{name} was not begun" for name in value["skipped"]] if not what else []
    objects = list(dict.fromkeys(o for f in found for o in f["objects"]))
    return what, objects, next((str(f["remedy"]) for f in found if f["remedy"]), "")


def _text(said: str, url: str | None) -> str:
    return f"{said} {url}" if url else said
