"""HTTP to an API server: bounded, paged, and in plain JSON.

The models of the Kubernetes client cost more CPU than everything else once there are thousands of pods, so
answers stay dictionaries here and become values of ours in ``kubernetes_values``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from kubernetes.client.exceptions import ApiException
from urllib3 import Retry
from urllib3.exceptions import HTTPError, ReadTimeoutError

from node_rotation.clients.kubernetes_errors import translate, translate_connection

if TYPE_CHECKING:
    from types import TracebackType

    from kubernetes.client import ApiClient
    from urllib3.connectionpool import ConnectionPool
    from urllib3.response import BaseHTTPResponse

Json = dict[str, Any]
CONNECT_S, READ_S = 5.0, 15.0
PAGE = 500
MERGE_PATCH = "application/merge-patch+json"
_JSON = {status: "object" for status in (200, 201, 202)}  # "object": parsed, but not made into a model
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class _Again(Retry):
    """Once more after a broken connection, not after a time-out: whoever waits for something looks again anyway."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """The next attempt, if there is one."""
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


class Api:
    """An API server's paths.

    :param client: made by the kubernetes package or Airflow's hook; its credentials and refresh hook are used.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        # Only reads are repeated here: who repeats a write has to look first.
        client.rest_client.pool_manager.connection_pool_kw["retries"] = _Again(
            total=1, redirect=0, status=0, allowed_methods={"GET"}, respect_retry_after_header=False
        )

    @property
    def host(self) -> str:
        """The API server's address."""
        return str(self._client.configuration.host)

    def items(self, path: str, what: str) -> list[Json]:
        """Every object of a collection.

        Read from the newest state, not from a cache of unknown age (``resourceVersion=0``): a look that does
        not see the act before it would say Done too early.
        """
        found: list[Json] = []
        query: dict[str, Any] = {"limit": PAGE}
        while True:
            page = self.call("GET", path, what, query=query, verb="list")
            found.extend(page.get("items") or [])
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return found
            query["continue"] = token

    def merge(self, path: str, what: str, patch: Mapping[str, Any]) -> Json:
        """A JSON merge patch: ``metadata.uid`` and ``metadata.resourceVersion`` in it are preconditions."""
        return self.call("PATCH", path, what, body=dict(patch), content_type=MERGE_PATCH)

    def text(self, path: str, what: str, query: Mapping[str, Any]) -> str:
        """A plain text: a log.

        :raises RotationError: one of the classes of ``errors``.
        """
        try:
            return str(self._send("GET", path, query=query, answers={200: "str"}))
        except ApiException as error:
            raise translate(error, "get", what) from error
        except (HTTPError, OSError) as error:
            raise translate_connection(error, self.host, "get", what) from error

    def call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: Json | None = None,
        query: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        verb: str = "",
    ) -> Json:
        """One call, its errors translated.

        :param what: the object as error messages name it.
        :param verb: the RBAC verb, if the method does not tell.
        :raises RotationError: one of the classes of ``errors``.
        """
        verb = verb or _VERBS[method]
        try:
            return self.raw(method, path, body=body, query=query, content_type=content_type)
        except ApiException as error:
            raise translate(error, verb, what) from error
        except (HTTPError, OSError) as error:
            raise translate_connection(error, self.host, verb, what) from error

    def raw(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """One call, errors as the kubernetes package raises them."""
        answer = self._send(method, path, body=body, query=query, content_type=content_type)
        return answer if isinstance(answer, dict) else {}

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        answers: Mapping[int, str] = _JSON,
    ) -> Any:
        return self._client.call_api(
            path,
            method,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            response_types_map=answers,
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
            _request_timeout=(CONNECT_S, READ_S),
        )
