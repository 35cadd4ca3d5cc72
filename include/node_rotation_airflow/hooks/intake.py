"""An Airflow connection of type HTTP as the endpoint of an intake."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

from node_rotation.clients.http import Endpoint
from node_rotation.clients.text import short
from node_rotation.errors import BlockedError
from node_rotation.outcome import Blocked

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from node_rotation.configuration.intake_policy import HttpPlace


def endpoint_of(intake: HttpPlace) -> Endpoint:
    """Address and credentials of an intake's connection, read as Airflow's HTTP provider reads one.

    Schema, host and port are the address; its extra are headers; login and password are basic authentication, a
    password alone is a bearer token.

    :raises BlockedError: if there is no such connection, or it has no host.
    """
    what = (f"connection {intake.connection}",)
    try:
        connection = BaseHook.get_connection(intake.connection)
    except AirflowNotFoundException as error:
        remedy = f"Add it to Airflow as an HTTP connection, or correct {intake.setting}.connection in the fleet file."
        raise BlockedError(Blocked(f"there is no connection {intake.connection}", what, remedy)) from error
    except AirflowException as error:
        raise BlockedError(
            Blocked(f"connection {intake.connection} can't be read: {short(error)}", what, "Correct it in Airflow.")
        ) from error
    if not connection.host:
        raise BlockedError(
            Blocked(f"connection {intake.connection} has no host", what, f"Give it the {intake.noun}'s host.")
        )
    headers = {str(key): str(value) for key, value in connection.extra_dejson.items()}
    return Endpoint(_url(connection), {**headers, **_credentials(connection)})


def _url(connection: Connection) -> str:
    host = str(connection.host)
    url = host if "://" in host else f"{connection.schema or 'https'}://{host}"
    return f"{url}:{connection.port}" if connection.port else url.rstrip("/")


def _credentials(connection: Connection) -> dict[str, str]:
    if connection.login:
        pair = f"{connection.login}:{connection.password or ''}".encode()
        return {"Authorization": f"Basic {b64encode(pair).decode()}"}
    return {"Authorization": f"Bearer {connection.password}"} if connection.password else {}
