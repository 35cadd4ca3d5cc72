"""Requests to an intake, each bounded in time; answers as errors of ours."""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Thread
from typing import NamedTuple
from urllib.parse import urlsplit

from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import parse_url

from node_rotation.clients.text import short
from node_rotation.configuration.intake_policy import HttpCall, HttpPlace
from node_rotation.errors import BlockedError, TransientError
from node_rotation.outcome import Blocked

RETRY_S = 5.0
SHORTEST_SECRET = 6
SAID = 2000  # bytes of an answer that are worth reading
_PASSING = frozenset({408, 425, 429})  # RFC 9110, RFC 8470, RFC 6585: the same request may do later
_THREAD = "node-rotation-http"

# urllib3 logs the path of each request at level DEBUG, and a webhook's path is its secret.
logging.getLogger("urllib3.connectionpool").addFilter(lambda record: record.threadName != _THREAD)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go.

    :param url: without a slash at its end.
    :param headers: credentials included.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def origin(self) -> str:
        """What of the address may be shown: a webhook's path is its secret."""
        try:
            parts = urlsplit(self.url)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            return "the url"
        return f"{parts.scheme}://{parts.hostname}{port}"

    def masked(self, text: str) -> str:
        """What a server said, without what it repeats of our secrets: many a 404 names the path.

        :param text: of its answer.
        """
        parts = urlsplit(self.url)
        words = (value.split()[-1] for value in self.headers.values() if value.strip())
        for secret in (parts.path.strip("/"), parts.query, *words):
            text = text.replace(secret, "***") if len(secret) >= SHORTEST_SECRET else text
        return text


class _Answer(NamedTuple):
    status: int
    said: str


def from_environment(intake: HttpPlace) -> Endpoint:
    """The address in the fleet file, and a bearer token in the environment.

    :raises BlockedError: if either is missing.
    """
    where = (intake.setting,)
    if not intake.url:
        raise BlockedError(
            Blocked(f"the {intake.noun} has no url", where, "Give it in the fleet file for use without Airflow.")
        )
    if intake.token_variable is None:
        return Endpoint(intake.url.rstrip("/"))
    token = os.environ.get(intake.token_variable)
    if not token:
        problem = f"the environment variable {intake.token_variable} is not set"
        raise BlockedError(Blocked(problem, where, f"Set it to the {intake.noun}'s bearer token."))
    return Endpoint(intake.url.rstrip("/"), {"Authorization": f"Bearer {token}"})


class HttpClient:
    """An intake's endpoint over HTTP; redirects are not followed, they would take the token elsewhere.

    :param endpoint: finds address and credentials, each time anew.
    """

    def __init__(self, endpoint: Callable[[HttpPlace], Endpoint]) -> None:
        self._endpoint, self._pool = endpoint, PoolManager()

    def check(self, intake: HttpPlace) -> None:
        """See that its address is known; sends nothing.

        :raises BlockedError: if it is not.
        """
        self._endpoint(intake)

    def reach(self, intake: HttpPlace) -> None:
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
            raise TransientError(f"{intake.noun} {to.origin}: no answer: {short(error, 160)}", RETRY_S) from error

    def send(self, intake: HttpPlace, call: HttpCall) -> None:
        """Send one request.

        :raises TransientError: no answer, or one that may change by itself.
        :raises BlockedError: a refusal: nothing was done.
        """
        to = self._endpoint(intake)
        what = f"{call.method} {to.origin}{call.path}"
        try:
            answer = _within(intake.request_timeout, lambda: self._ask(to, call, intake.request_timeout))
        except LocationParseError as error:
            raise _no_address(to, what) from error
        except TimeoutError as error:
            raise TransientError(f"{what}: no answer within {intake.request_timeout:g} s", RETRY_S) from error
        except (HTTPError, OSError) as error:
            raise TransientError(f"{what}: no answer: {short(error, 160)}", RETRY_S) from error
        _judge(answer.status, what, short(to.masked(answer.said), 200))

    def _ask(self, to: Endpoint, call: HttpCall, timeout_s: float) -> _Answer:
        answer = self._pool.request(
            call.method,
            f"{to.url}{call.path}",
            body=None if call.body is None else json.dumps(call.body),
            headers={"Accept": "application/json", "Content-Type": "application/json", **to.headers},
            timeout=Timeout(total=timeout_s),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        said = answer.read(SAID).decode(errors="replace")
        answer.close()
        return _Answer(answer.status, said)


def _within(limit_s: float, ask: Callable[[], _Answer]) -> _Answer:
    """Its answer; whoever is slower ends by itself, for no socket's timeout bounds a name server or a slow talker.

    :raises TimeoutError: if there is none in time.
    """
    answer: Future[_Answer] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # it is raised where the answer is waited for
            answer.set_exception(error)

    Thread(target=work, name=_THREAD, daemon=True).start()
    return answer.result(limit_s)


def _no_address(to: Endpoint, what: str = "") -> BlockedError:
    remedy = "Correct its url in the fleet file, or the connection in Airflow."
    return BlockedError(Blocked(f"{to.origin} is no address", (what or to.origin,), remedy))


def _judge(status: int, what: str, said: str) -> None:
    if 200 <= status < 300:
        return
    line = f"{what} answers {status}{f': {said}' if said else ''}"
    if status >= 500 or status in _PASSING:
        raise TransientError(line, RETRY_S)
    if status in (401, 403):
        remedy = "Give the connection, or the token's environment variable, credentials that may do this."
    else:
        remedy = "Correct its url, path or body."
    raise BlockedError(Blocked(line, (what,), remedy))
