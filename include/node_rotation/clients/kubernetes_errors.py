"""Kubernetes' refusals and a connection's failures as errors of ours, in one place.

Statuses: https://kubernetes.io/docs/reference/using-api/api-concepts/ and
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError, SSLError

from node_rotation.clients.text import short
from node_rotation.errors import (
    BlockedError,
    ConflictError,
    GoneError,
    PermanentError,
    RefusedError,
    RotationError,
    TransientError,
)
from node_rotation.outcome import Blocked

if TYPE_CHECKING:
    from kubernetes.client.exceptions import ApiException

Status = Mapping[str, Any]
_ANONYMOUS = '"system:anonymous"'  # who a request without credentials is, where anonymous requests are let in
_DENIED = re.compile(r'admission webhook "[^"]*" denied the request')
_CERTIFICATE_REMEDY = "Check the certificate authority in the kubeconfig or the connection."


def status_of(error: ApiException) -> Status:
    """The ``Status`` object in a refusal's body; empty if a proxy or nobody answered."""
    try:
        body = json.loads(error.body or "{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) and body.get("kind") == "Status" else {}


def message_of(error: ApiException) -> str:
    """What the API server said, or what its connection did; never its headers."""
    return short(status_of(error).get("message") or error.reason or f"HTTP {error.status}")


def cause_of(error: ApiException) -> str:
    """The reason of the refusal's first cause, e.g. ``DisruptionBudget``; empty if it names none."""
    causes = _causes(error)
    return str(causes[0].get("reason", "")) if causes else ""


def _causes(error: ApiException) -> list[Status]:
    return (status_of(error).get("details") or {}).get("causes") or []


def retry_after_s(error: ApiException, default_s: float) -> float:
    """Seconds to wait: the header's, else those in the details, else a default."""
    headers = {k.lower(): v for k, v in dict(error.headers or {}).items()}
    said = headers.get("retry-after") or (status_of(error).get("details") or {}).get("retryAfterSeconds")
    try:
        return float(said) if said else default_s
    except ValueError:  # an HTTP date: nobody in Kubernetes sends one
        return default_s


def other_uid(error: ApiException) -> bool:
    """Whether a write was refused because another object has the name now.

    Deletions and evictions are refused with 409 and a precondition's wording; a patch with another UID would change
    an immutable field (422).
    """
    if error.status == 422:
        return any(cause.get("field") == "metadata.uid" for cause in _causes(error))
    return error.status == 409 and "UID" in message_of(error)


def denied_by_webhook(error: ApiException) -> bool:
    """Whether an admission webhook refused a call, with whatever code: it is no word of the API server itself.

    kubernetes/apiserver, ``admission/plugin/webhook/errors.ToStatusErr``.
    """
    return _DENIED.match(message_of(error)) is not None


def translate(error: ApiException, verb: str, what: str) -> RotationError:
    """One refusal as an error of ours.

    :param verb: the RBAC verb, e.g. ``patch``.
    :param what: the object as a person calls it, e.g. ``node ip-10-0-0-1``.
    """
    said = f"can't {verb} {what}: {message_of(error)}"
    match error.status:
        case 401:
            return RefusedError(_unauthenticated(verb, what, error))
        case 403 if _ANONYMOUS in message_of(error):
            return BlockedError(_no_credentials(verb, what, error))
        case 403:
            return RefusedError(_forbidden(verb, what, error))
        case 404:
            return GoneError(f"{what} is gone: {message_of(error)}")
        case 409 | 422 if other_uid(error):
            return GoneError(f"{what} is gone, another object has its name: {message_of(error)}")
        case 409 | 410:  # 410: a list's continue token is too old; reading anew is the cure for both
            return ConflictError(said)
        case 0:
            return _no_answer(error, verb, what)
        case 429:
            return TransientError(said, retry_after_s(error, 1.0))
        case status if status is not None and status >= 500:
            return TransientError(said, retry_after_s(error, 5.0))
    return PermanentError(said)


def translate_connection(error: HTTPError | OSError, host: str, verb: str, what: str) -> RotationError:
    """A connection's failure as an error of ours.

    :param host: the API server's address, which the message names.
    """
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(cause, SSLError):
        return _untrusted(host, cause)
    kind = "did not answer in time" if isinstance(cause, ReadTimeoutError) else "can't be reached"
    hint = "is its address right, and is there a way to it from here (VPN, security group)?"
    return TransientError(f"can't {verb} {what}: the API server {host} {kind}: {short(cause, 160)}; {hint}")


def _no_answer(error: ApiException, verb: str, what: str) -> RotationError:
    """Status 0: the client library wraps TLS failures so."""
    if "SSL" in str(error.reason):
        return _untrusted("(see the kubeconfig)", error.reason)
    return TransientError(f"can't {verb} {what}: {message_of(error)}")


def _untrusted(host: str, cause: object) -> BlockedError:
    reason = f"the API server's certificate is not trusted: {short(cause, 160)}"
    return BlockedError(Blocked(reason, (f"API server {host}",), _CERTIFICATE_REMEDY))


def _unauthenticated(verb: str, what: str, error: ApiException) -> Blocked:
    return Blocked(
        f"the API server does not accept our credentials (wanted to {verb} {what}): {message_of(error)}",
        (what,),
        "Renew the token or certificate of the connection or kubeconfig; on EKS see that the IAM identity has an "
        "access entry.",
    )


def _no_credentials(verb: str, what: str, error: ApiException) -> Blocked:
    return Blocked(
        f"no Kubernetes credentials: the API server took us for nobody (wanted to {verb} {what}): {message_of(error)}",
        (what,),
        "Give the connection or kubeconfig a token, a client certificate or an exec plugin.",
    )


def _forbidden(verb: str, what: str, error: ApiException) -> Blocked:
    return Blocked(
        f"we are not allowed to {verb} {what}: {message_of(error)}",
        (what,),
        f"Grant the verb {verb!r} to this identity (ClusterRole node-rotation).",
    )
