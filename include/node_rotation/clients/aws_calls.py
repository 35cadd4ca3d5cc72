"""The boto3 clients: bounded in time, few retries, and none where a repeated call would act twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

if TYPE_CHECKING:
    import boto3

Item = TypeVar("Item")
CONNECT_S, READ_S = 5, 15
ATTEMPTS = 4


class Calls:
    """One account and region.

    ``autoscaling`` and ``ec2`` repeat what was throttled or refused for a moment. ``*_once`` never does: after a broken
    connection nobody knows whether a detach or a termination with decrement was done, so the caller looks first.
    A time-out is repeated by nobody here: four of them are more than a minute in which nobody is told anything, and
    whoever waits for something looks again anyway.

    :param session: carries credentials, their refreshing, the region, and the endpoint.
    """

    def __init__(self, session: boto3.Session) -> None:
        self._session = session

    @cached_property
    def autoscaling(self) -> Any:
        """Auto Scaling, for what may be repeated."""
        return self._client("autoscaling", ATTEMPTS)

    @cached_property
    def autoscaling_once(self) -> Any:
        """Auto Scaling, for what must not be repeated blindly."""
        return self._client("autoscaling", 1)

    @cached_property
    def ec2(self) -> Any:
        """EC2, for what may be repeated."""
        return self._client("ec2", ATTEMPTS)

    @cached_property
    def ec2_once(self) -> Any:
        """EC2, for what must not be repeated blindly."""
        return self._client("ec2", 1)

    @cached_property
    def ssm(self) -> Any:
        """Systems Manager, for image parameters."""
        return self._client("ssm", ATTEMPTS)

    @cached_property
    def eks(self) -> Any:
        """EKS, for clusters and managed node groups; what changes them carries a token, so it may be repeated."""
        return self._client("eks", ATTEMPTS)

    @cached_property
    def elasticloadbalancing(self) -> Any:
        """Elastic Load Balancing, for target groups; what changes them may be repeated."""
        return self._client("elbv2", ATTEMPTS)

    @cached_property
    def sts(self) -> Any:
        """STS, for who we are."""
        return self._client("sts", ATTEMPTS)

    @cached_property
    def iam(self) -> Any:
        """IAM, for what we may."""
        return self._client("iam", ATTEMPTS)

    @cached_property
    def servicequotas(self) -> Any:
        """Service Quotas, for how much there may be."""
        return self._client("service-quotas", ATTEMPTS)

    def _client(self, service: str, attempts: int) -> Any:
        retries = {"mode": "standard", "total_max_attempts": attempts}
        config = Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries=retries,  # type: ignore[arg-type]
            user_agent_extra="node-rotation",
        )
        client = self._session.client(service, config=config)  # type: ignore[call-overload]
        client.meta.events.register_first("needs-retry", _not_after_a_time_out)
        return client


def _not_after_a_time_out(caught_exception: Exception | None = None, **_: Any) -> None:
    if isinstance(caught_exception, ConnectTimeoutError | ReadTimeoutError):
        raise caught_exception


def chunks(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    """Pieces of at most ``size``, twins left out, order kept."""
    left = list(dict.fromkeys(items))
    for start in range(0, len(left), size):
        yield left[start : start + size]
