"""Answers the API servers' TokenReviews, as the IAM authenticator of EKS does.

A token is ``k8s-aws-v1.`` and the base64 of a presigned STS GetCallerIdentity URL; it is good for 15 minutes from
its X-Amz-Date. Source: https://github.com/kubernetes-sigs/aws-iam-authenticator (pkg/token). The signature is not
verified: the ground knows one identity, and it may do everything.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PREFIX = "k8s-aws-v1."
LIFETIME = dt.timedelta(minutes=15)
# The authenticator allows a clock to be ahead a little.
SKEW = dt.timedelta(minutes=5)


class TokenError(ValueError):
    """The token is not one of a caller of this AWS; the message says why."""


def check(token: str, now: dt.datetime) -> str:
    """The access key a token was made with.

    :raises TokenError: malformed, for another call than GetCallerIdentity, or expired.
    """
    if not token.startswith(PREFIX):
        raise TokenError(f"token is missing expected {PREFIX!r} prefix")
    encoded = token.removeprefix(PREFIX)
    try:
        url = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise TokenError(f"token is not base64 of a URL: {error}") from error
    query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    if query.get("action") != "GetCallerIdentity":
        raise TokenError("token is not a presigned GetCallerIdentity")
    if "x-k8s-aws-id" not in query.get("x-amz-signedheaders", ""):
        raise TokenError("token does not sign x-k8s-aws-id")
    try:
        made = dt.datetime.strptime(query["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    except (KeyError, ValueError) as error:
        raise TokenError("token has no X-Amz-Date") from error
    if not made - SKEW <= now <= made + LIFETIME:
        raise TokenError(f"token expired at {made + LIFETIME:%H:%M:%S}")
    return query.get("x-amz-credential", "").partition("/")[0]


class Authenticator:
    """A TokenReview webhook on loopback for every cluster of the ground."""

    def __init__(self, account: str) -> None:
        self._account = account
        authenticator = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802 - http.server's name
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = json.dumps(authenticator.review(review)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="tokens", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the API servers post their reviews."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def review(self, review: dict[str, Any]) -> dict[str, Any]:
        """Answer one TokenReview."""
        try:
            key = check(review["spec"]["token"], dt.datetime.now(dt.UTC))
        except TokenError as error:
            status: dict[str, Any] = {"authenticated": False, "error": str(error)}
        else:
            user = {"username": f"arn:aws:iam::{self._account}:user/{key}", "groups": ["system:masters"]}
            status = {"authenticated": True, "user": user}
        return {"apiVersion": review["apiVersion"], "kind": "TokenReview", "status": status}

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
