from __future__ import annotations

import base64
import datetime as dt

import pytest

from proving_ground.tokens import TokenError, check

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)


def token(made=NOW, action="GetCallerIdentity", signed="host%3Bx-k8s-aws-id"):
    url = (
        f"https://sts.eu-central-1.amazonaws.com/?Action={action}&Version=2011-06-15"
        f"&X-Amz-Credential=AKIAEXAMPLE%2F20261121%2Feu-central-1%2Fsts%2Faws4_request"
        f"&X-Amz-Date={made:%Y%m%dT%H%M%SZ}&X-Amz-Expires=60&X-Amz-SignedHeaders={signed}&X-Amz-Signature=00"
    )
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def test_a_fresh_token_names_its_key():
    assert check(token(), NOW) == "AKIAEXAMPLE"


def test_a_token_is_good_for_a_quarter_of_an_hour():
    assert check(token(), NOW + dt.timedelta(minutes=14, seconds=59))
    with pytest.raises(TokenError, match="expired at 12:15:00"):
        check(token(), NOW + dt.timedelta(minutes=15, seconds=1))


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ("eyJhbGciOi", "prefix"),
        ("k8s-aws-v1.%%%", "presigned|base64"),
        (token(action="AssumeRole"), "GetCallerIdentity"),
        (token(signed="host"), "x-k8s-aws-id"),
    ],
)
def test_what_is_no_such_token_is_refused(wrong, because):
    with pytest.raises(TokenError, match=because):
        check(wrong, NOW)
