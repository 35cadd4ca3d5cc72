"""Whoever installs into clusters: closed and opened by a rotation, sometimes out of order."""

from __future__ import annotations

from urllib.error import HTTPError

import pytest

from .support import Aws


def test_it_is_closed_opened_and_remembers_both(aws: Aws) -> None:
    assert aws.control("intake", {"cluster": "dev", "open": False}) == {"closed": ["dev"]}
    assert aws.control("intake", {"cluster": "dev", "open": True}) == {"closed": []}
    assert aws.control("intake")["said"][-2:] == [["dev", False], ["dev", True]]


def test_out_of_order_it_answers_500_so_many_times(aws: Aws) -> None:
    aws.control("intake-refuses", {"times": 1})
    with pytest.raises(HTTPError, match="500"):
        aws.control("intake", {"cluster": "dev", "open": False})
    assert aws.control("intake")["closed"] == []
    assert aws.control("intake", {"cluster": "dev", "open": True}) == {"closed": []}
