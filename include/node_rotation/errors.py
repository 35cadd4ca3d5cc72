"""Errors in three classes, mapped once at the clients; one retry policy reads the class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from node_rotation.outcome import Blocked


class RotationError(Exception):
    """The base of every error this project raises on purpose."""


class TransientError(RotationError):
    """Trying again later may help: throttling, time-outs, a server that is away, a lost race.

    :param retry_after_s: seconds the service asked for, or a sensible pause.
    """

    def __init__(self, message: str, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ConflictError(TransientError):
    """Somebody else wrote the object first (HTTP 409, a changed resourceVersion): read it again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_s=0.5)


class BlockedError(RotationError):
    """Nothing but a person, or another system, can clear this.

    :param blocked: reason, objects and remedy.
    """

    def __init__(self, blocked: Blocked) -> None:
        super().__init__(str(blocked))
        self.blocked = blocked


class RefusedError(BlockedError):
    """The API server does not let us in, or not to that (HTTP 401, 403): for who was let in before it may pass."""


class PermanentError(RotationError):
    """The call was wrong and will stay wrong: no retry."""


class GoneError(PermanentError):
    """The object is not there (any more): for many steps that means done."""


class BadInputError(PermanentError):
    """Configuration, parameters or a plan that can't be right; raised before anything is touched.

    :param where: file and path in it, or the name of the parameter.
    :param problem: what is wrong with it.
    :param remedy: what to write instead.
    """

    def __init__(self, where: str, problem: str, remedy: str = "") -> None:
        super().__init__(f"{where}: {problem}" + (f" {remedy}" if remedy else ""))
        self.where, self.problem, self.remedy = where, problem, remedy


@contextmanager
def happening_at(place: str) -> Iterator[None]:
    """Name a place in what goes wrong inside, where several are asked and the error itself can't tell which.

    What the error names of it already, the account's region say, is not said twice.

    :param place: e.g. ``account eu-central-1 (aws_prod) of prod.eu-1``.
    """
    try:
        yield
    except BlockedError as error:
        found = error.blocked
        objects = (*(what for what in found.objects if what not in place), place)
        raise BlockedError(Blocked(found.reason, objects, found.remedy)) from error
    except TransientError as error:
        raise TransientError(f"{place}: {error}", error.retry_after_s) from error
    except RotationError as error:
        raise PermanentError(f"{place}: {error}") from error
