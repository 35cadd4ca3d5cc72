"""The shapes that texts of the fleet file may have, in words: a pattern tells a program, not a person."""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """What a text has to look like.

    :param pattern: for pydantic and the JSON schema.
    :param what: what it is, with its article.
    :param allowed: how to write it.
    """

    pattern: str
    what: str
    allowed: str
    example: str


NAME = Shape(
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
    "a name",
    "write letters, digits, '.', '_' and '-', the first one a letter or digit",
    "eu-1",
)
ENVIRONMENT = Shape(
    r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
    "a name of an environment",
    "write letters, digits, '_' and '-' (no '.', which stands between environment and cluster), "
    "the first one a letter or digit",
    "staging",
)
REGION = Shape(
    r"^[a-z]{2}[a-z0-9-]*[0-9]$", "an AWS region", "write its code, not its zone or its place", "eu-central-1"
)
IMAGE_ID = Shape(r"^ami-[0-9a-z]+$", "an image's id", "write the id, not the name", "ami-0123456789abcdef0")
REASON = Shape(r"\S", "a reason", "write why: it goes on record", "CVE-2026-1234")
PATH = Shape(r"^/", "a path", "begin it with '/': the address before it is the endpoint's", "/clusters/prod/intake")
URL = Shape(r"^https?://", "an address", "begin it with http:// or https://", "https://installer.example.com")
ADDRESS = Shape(
    r"^https?://[^\s/]+",
    "an address",
    "begin it with http:// or https:// and a host",
    "https://shop.example.com/health",
)
API_VERSION = Shape(
    r"^([a-z0-9.-]+/)?v[0-9][a-z0-9]*$", "a Kubernetes API version", "write group/version, or v1 alone", "apps/v1"
)
CURRENCY = Shape(r"^[A-Z]{3}$", "a currency", "write its three letters", "USD")

BY_PATTERN = {
    shape.pattern: shape
    for shape in (NAME, ENVIRONMENT, REGION, IMAGE_ID, REASON, PATH, URL, ADDRESS, API_VERSION, CURRENCY)
}
