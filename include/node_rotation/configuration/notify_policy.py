"""Who is told what of a rotation, and where."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from node_rotation.configuration.intake_policy import HttpCall, HttpPlace
from node_rotation.model import Value


class NoticeKind(StrEnum):
    """What there is to tell: something that happens on the way, or how a run ended."""

    APPROVAL = "approval"
    BATCH_FAILED = "batch_failed"
    FROZEN = "frozen"
    OK = "ok"
    FAILED = "failed"
    BLOCKED = "blocked"
    POSTPONED = "postponed"
    SUPERSEDED = "superseded"
    NOT_BEGUN = "not_begun"


class Post(HttpCall):
    """One message, to the address as it is."""

    path: str = ""


class HttpNotify(HttpPlace):
    """A webhook that takes JSON with a ``text`` field; its whole address, often a secret, is the connection's host."""

    setting: ClassVar[str] = "notify.http"
    noun: ClassVar[str] = "notification"


class Notify(Value):
    """One receiver."""

    kinds: tuple[NoticeKind, ...] = Field(
        default=tuple(NoticeKind),
        min_length=1,
        examples=[["frozen", "failed", "blocked"]],
        description="what to tell; they are explained in docs/notifications.md",
    )
    http: HttpNotify
