"""Requests to an intake, each bounded in time; answers as errors of ours."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import parse_url

from node_rotation.clients.text import short
from node_rotation.configuration.intake_policy import HttpCall, HttpIntake
from node_rotation.errors import BlockedError, TransientError
from node_rotation.outcome import Blocked

RETRY_S = 5.0
SAID = 2000  # bytes of an answer that are worth reading
_PASSING = frozenset({408, 425, 429})  # RFC 9110, RFC 8470, RFC 6585: the same request may do later


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go.

    :param url: without a slash at its end.
    :param headers: credentials included.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def from_environment(intake: HttpIntake) -> Endpoint:
    """The address in the fleet file, and a bearer token in the environment.

    :raises BlockedError: if either is missing.
    """
    where = (f"intake.http ({intake.close.path})",)
    if not intake.url:
        raise BlockedError(
            Blocked("the intake has no url", where, "Give intake.http.url in the fleet file, for use without Airflow.")
        )
    if intake.token_variable is None:
        return Endpoint(intake.url.rstrip("/"))
    token = os.environ.get(intake.token_variable)
    if not token:
        problem = f"the environment variable {intake.token_variable} is not set"
        raise BlockedError(Blocked(problem, where, "Set it to the intake's bearer token."))
    return Endpoint(intake.url.rstrip("/"), {"Authorization": f"Bearer {token}"})


class HttpClient:
    """An intake's endpoint over HTTP; redirects are not followed, they would take the token elsewhere.

    :param endpoint: finds address and credentials, each time anew.
    """

    def __init__(self, endpoint: Callable[[HttpIntake], Endpoint]) -> None:
        self._endpoint, self._pool = endpoint, PoolManager()

    def check(self, intake: HttpIntake) -> None:
        """See that its address is known; sends nothing.

        :raises BlockedError: if it is not.
        """
        self._endpoint(intake)

    def reach(self, intake: HttpIntake) -> None:
        """See that somebody takes connections there, with a certificate that is trusted; sends no request.

        :raises TransientError: nobody does within ``request_timeout``.
        :raises BlockedError: its address is not known, or is none.
        """
        to = self._endpoint(intake)
        try:
            url = parse_url(to.url)
            secure = url.scheme == "https"
            address = (url.host or "", url.port or (443 if secure else 80))
            with socket.create_connection(address, timeout=intake.request_timeout) as plain:
                if secure:
                    ssl.create_default_context().wrap_socket(plain, server_hostname=url.host).close()
        except LocationParseError as error:
            raise _no_address(to) from error
        except (OSError, UnicodeError) as error:
            raise TransientError(f"intake {to.url}: no answer: {short(error, 160)}", RETRY_S) from error

    def send(self, intake: HttpIntake, call: HttpCall) -> None:
        """Send one request.

        :raises TransientError: no answer, or one that may change by itself.
        :raises BlockedError: a refusal: nothing was done.
        """
        to = self._endpoint(intake)
        what = f"{call.method} {to.url}{call.path}"
        try:
            answer = self._pool.request(
                call.method,
                f"{to.url}{call.path}",
                body=None if call.body is None else json.dumps(call.body),
                headers={"Accept": "application/json", "Content-Type": "application/json", **to.headers},
                timeout=Timeout(total=intake.request_timeout),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            said = short(answer.read(SAID).decode(errors="replace"), 200)
            answer.close()
        except LocationParseError as error:
            raise _no_address(to) from error
        except (HTTPError, OSError) as error:
            raise TransientError(f"{what}: no answer: {short(error, 160)}", RETRY_S) from error
        _judge(answer.status, what, said)


def _no_address(to: Endpoint) -> BlockedError:
    remedy = "Correct intake.http.url in the fleet file, or the connection in Airflow."
    return BlockedError(Blocked(f"{to.url} is no address", (f"intake {to.url}",), remedy))


def _judge(status: int, what: str, said: str) -> None:
    if 200 <= status < 300:
        return
    line = f"{what} answers {status}{f': {said}' if said else ''}"
    if status >= 500 or status in _PASSING:
        raise TransientError(line, RETRY_S)
    if status in (401, 403):
        remedy = "Give the connection, or the token's environment variable, credentials that may do this."
    else:
        remedy = "Correct intake.http in the fleet file: url, path or body."
    raise BlockedError(Blocked(line, (what,), remedy))
