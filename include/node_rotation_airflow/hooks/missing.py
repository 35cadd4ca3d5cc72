"""A connection that Airflow does not give, which means two things: there is none, or its secrets backend is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from node_rotation.errors import BadInputError, TransientError


class NoConnectionError(BadInputError):
    """Airflow knows no such connection, or can't say now: it makes no difference between the two.

    :param connection: its id.
    :param setting: where the fleet file names it.
    """

    def __init__(self, connection: str, setting: str) -> None:
        remedy = f"Add it to Airflow, or correct {setting} in the fleet file."
        super().__init__(f"connection {connection}", "does not exist.", remedy)


@contextmanager
def known_from_the_plan() -> Iterator[None]:
    """For who carries out a plan: it was made through the same connections, so they may be there again in a moment.

    :raises TransientError: if Airflow gives no such connection now.
    """
    try:
        yield
    except NoConnectionError as error:
        raise TransientError(str(error)) from error
