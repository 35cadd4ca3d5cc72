"""What an API server and a connection say, as errors of ours; the exceptions are the kubernetes package's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException, ForbiddenException, NotFoundException, ServiceException
from urllib3.exceptions import MaxRetryError, NewConnectionError, ReadTimeoutError, SSLError

from node_rotation.clients.kubernetes import _eviction_answer
from node_rotation.clients.kubernetes_errors import denied_by_webhook, translate, translate_connection
from node_rotation.errors import (
    BlockedError,
    ConflictError,
    GoneError,
    PermanentError,
    RefusedError,
    RotationError,
    TransientError,
)
from node_rotation.world.answers import Denied, Misconfigured, Throttled

HOST = "https://10.0.0.1:6443"


def refusal(
    status: int, message: str = "no", kind: type[ApiException] = ApiException, headers: Any = None, **details: Any
) -> ApiException:
    """A refusal as the kubernetes package raises it."""
    error = kind(status=status, reason="Reason")
    error.body = json.dumps({"kind": "Status", "message": message, "details": details})
    error.headers = headers or {}
    return error


def of(error: ApiException) -> RotationError:
    return translate(error, "patch", "node ip-10-0-0-1")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failing_server_is_transient(status):
    found = of(refusal(status, "etcdserver: request timed out", ServiceException))

    assert isinstance(found, TransientError)
    assert "etcdserver" in str(found)


def test_a_busy_server_says_when_to_come_back():
    found = of(refusal(429, "too many requests", headers={"Retry-After": "7"}))

    assert isinstance(found, TransientError)
    assert found.retry_after_s == 7.0
    assert of(refusal(429, retryAfterSeconds=3)).retry_after_s == 3.0
    assert of(refusal(429)).retry_after_s == 1.0


def test_a_changed_object_is_a_conflict():
    assert isinstance(of(refusal(409, "the object has been modified")), ConflictError)


def test_a_list_that_took_too_long_starts_anew():
    assert isinstance(of(refusal(410, "The provided continue parameter is too old")), ConflictError)


def test_what_is_not_there_is_gone():
    assert isinstance(of(refusal(404, 'nodes "ip-10-0-0-1" not found', NotFoundException)), GoneError)


@pytest.mark.parametrize(
    "error",
    [
        refusal(409, "Precondition failed: UID in precondition: a, UID in object meta: b"),
        refusal(422, "field is immutable", causes=[{"reason": "FieldValueInvalid", "field": "metadata.uid"}]),
    ],
)
def test_another_object_of_the_same_name_is_gone(error):
    found = of(error)

    assert isinstance(found, GoneError)
    assert "another object has its name" in str(found)


def test_other_invalid_fields_stay_wrong():
    error = refusal(422, "invalid taint", causes=[{"reason": "FieldValueInvalid", "field": "spec.taints[0].key"}])

    assert type(of(error)) is PermanentError


def test_a_forbidden_verb_is_named_with_its_remedy():
    said = 'nodes "ip-10-0-0-1" is forbidden: User "system:serviceaccount:a:b" cannot patch resource "nodes"'

    found = of(refusal(403, said, ForbiddenException))

    assert isinstance(found, RefusedError)
    assert said in found.blocked.reason
    assert "'patch'" in found.blocked.remedy
    assert found.blocked.objects == ("node ip-10-0-0-1",)


def test_a_request_without_credentials_is_not_asked_for_more_rights():
    found = of(refusal(403, 'nodes is forbidden: User "system:anonymous" cannot list resource "nodes"'))

    assert isinstance(found, BlockedError)
    assert not isinstance(found, RefusedError)  # no API server lacks them for a moment only
    assert found.blocked.reason.startswith("no Kubernetes credentials: ")
    assert "a client certificate" in found.blocked.remedy


def test_credentials_that_are_not_accepted_ask_for_new_ones():
    found = of(refusal(401, "Unauthorized"))

    assert isinstance(found, RefusedError)
    assert "Renew the token" in found.blocked.remedy


@pytest.mark.parametrize("body", [None, "", "<html>bad gateway</html>", "[]", '{"kind": "Other", "message": "x"}'])
def test_an_answer_that_is_no_status_is_not_quoted(body):
    error = ApiException(status=400, reason="Bad Request")
    error.body = body

    assert str(of(error)) == "can't patch node ip-10-0-0-1: Bad Request"


def test_headers_never_reach_a_message_and_bearer_tokens_are_left_out():
    error = refusal(400, "bad header Authorization: Bearer k8s-aws-v1.aHR0cHM6Ly9zdHM", headers={"Cookie": "secret"})

    assert "aHR0" not in str(of(error))
    assert "secret" not in str(of(error))


def test_a_server_that_is_away_is_transient():
    away = MaxRetryError(None, "/api/v1/nodes", NewConnectionError(None, "Connection refused"))

    found = translate_connection(away, HOST, "list", "nodes")

    assert isinstance(found, TransientError)
    assert HOST in str(found)
    assert "can't be reached" in str(found)


def test_a_silent_server_is_transient():
    silent = ReadTimeoutError(None, "/api/v1/nodes", "Read timed out. (read timeout=20.0)")

    assert "did not answer in time" in str(translate_connection(silent, HOST, "list", "nodes"))


def test_a_broken_connection_is_transient():
    assert isinstance(translate_connection(ConnectionResetError("reset"), HOST, "list", "nodes"), TransientError)


def test_a_certificate_nobody_trusts_is_blocked():
    untrusted = MaxRetryError(None, "/api/v1/nodes", SSLError("certificate verify failed"))
    wrapped = ApiException(status=0, reason="SSLError\n[SSL: CERTIFICATE_VERIFY_FAILED]")

    for found in (translate_connection(untrusted, HOST, "list", "nodes"), of(wrapped)):
        assert isinstance(found, BlockedError)
        assert "certificate authority" in found.blocked.remedy


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 429, 500, 503])
def test_what_an_admission_webhook_denies_is_its_own_word_whatever_the_code(status):
    said = 'admission webhook "drain-cleaner.strimzi.io" denied the request: UID 7 will be rolled'
    assert denied_by_webhook(refusal(status, said))
    assert _eviction_answer(refusal(status, said)) == Denied(said)
    assert _eviction_answer(refusal(status, 'admission webhook "x" denied the request without explanation'))


@pytest.mark.parametrize(
    ("status", "said", "answer"),
    [
        (403, 'pods "api-1" is forbidden: User "x" cannot create resource "pods/eviction"', None),
        (429, "too many requests, please try again later", Throttled(1.0)),
        (500, 'Internal error occurred: failed calling webhook "x": context deadline exceeded', None),
        (
            500,
            "This pod has more than one PodDisruptionBudget",
            Misconfigured("This pod has more than one PodDisruptionBudget"),
        ),
    ],
)
def test_what_the_api_server_says_of_an_eviction_itself_is_no_denial(status, said, answer):
    assert not denied_by_webhook(refusal(status, said))
    assert _eviction_answer(refusal(status, said)) == answer
