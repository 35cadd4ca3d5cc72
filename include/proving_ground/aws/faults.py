"""Faults as data: which call goes wrong, and where there is no capacity.

Sources: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html (RequestLimitExceeded, 503),
https://docs.aws.amazon.com/autoscaling/ec2/APIReference/CommonErrors.html (Throttling, 400) and the common
errors of EKS and Systems Manager (ThrottlingException).
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from node_rotation.testing.scaling_activity import capacity_text
from node_rotation.testing.scaling_values import AwsFault

if TYPE_CHECKING:
    from proving_ground.scenario import Fault

_THROTTLE = {
    "ec2": ("RequestLimitExceeded", "Request limit exceeded.", 503),
    "autoscaling": ("Throttling", "Rate exceeded", 400),
    "elbv2": ("Throttling", "Rate exceeded", 400),
    "ssm": ("ThrottlingException", "Rate exceeded", 400),
    "eks": ("ThrottlingException", "Rate exceeded", 429),
    "sts": ("Throttling", "Rate exceeded", 400),
}
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
_EXPIRED = "The security token included in the request is expired"
_EXPIRED_BY_SERVICE = {
    "ec2": AwsFault("RequestExpired", "Request has expired.", 400),
    "ssm": AwsFault("ExpiredTokenException", _EXPIRED, 400),
    "eks": AwsFault("ExpiredTokenException", _EXPIRED, 403),
}
_INVALID = "The security token included in the request is invalid."
_INVALID_BY_SERVICE = {
    "ec2": AwsFault("AuthFailure", "AWS was not able to validate the provided access credentials", 401),
    "ssm": AwsFault("UnrecognizedClientException", _INVALID, 400),
    "eks": AwsFault("UnrecognizedClientException", _INVALID, 403),
}


def throttled(service: str) -> AwsFault:
    """A service's own way to say "slow down"."""
    return AwsFault(*_THROTTLE.get(service, ("Throttling", "Rate exceeded", 400)))


def refused_key(service: str, access_key: str) -> AwsFault | None:
    """What a service answers to the access keys ``expired`` and ``invalid``; any other is good."""
    if access_key == "expired":
        return _EXPIRED_BY_SERVICE.get(service, AwsFault("ExpiredToken", _EXPIRED, 403))
    if access_key == "invalid":
        return _INVALID_BY_SERVICE.get(service, AwsFault("InvalidClientTokenId", _INVALID, 403))
    return None


def as_answer(fault: Fault) -> AwsFault | None:
    """The error that a fault makes a service answer; None if it answers as always."""
    if fault.kind == "throttle" and fault.code is None:
        return throttled(fault.service)
    if fault.kind in ("throttle", "error"):
        code = fault.code or "InternalFailure"
        return AwsFault(code, fault.message or "An internal error has occurred", fault.status)
    return None


class FaultBook:
    """Counts calls and decides, per call and per launch, what goes wrong."""

    def __init__(self, faults: tuple[Fault, ...], region: str) -> None:
        self._region = region
        self._lock = threading.Lock()
        self._calls: Counter[tuple[int, str, str]] = Counter()
        self._failed_launches: Counter[int] = Counter()
        self._faults = list(faults)

    def add(self, fault: Fault) -> None:
        """One more; it counts calls from now on."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._faults.clear()
            self._calls.clear()
            self._failed_launches.clear()

    def of_call(self, service: str, action: str) -> list[Fault]:
        """Count a call; the faults that strike it."""
        with self._lock:
            return [
                fault
                for number, fault in enumerate(self._faults)
                if fault.kind != "capacity"
                and fault.service == service
                and fault.action in (None, action)
                and self._strikes(number, fault, action)
            ]

    def denies(self, service: str, action: str) -> bool:
        """Whether a fault denies this action, as IAM would; counts nothing."""
        with self._lock:
            return any(
                fault.service == service and fault.action in (None, action) and fault.code in _DENIED
                for fault in self._faults
            )

    def capacity(self, instance_type: str, zone: str, others: tuple[str, ...]) -> str | None:
        """EC2's text if there is no capacity for this type in this zone; counts the failed launch."""
        with self._lock:
            for number, fault in enumerate(self._faults):
                if self._dry(number, fault, instance_type, zone):
                    self._failed_launches[number] += 1
                    return fault.message or capacity_text(instance_type, zone, others)
        return None

    def _strikes(self, number: int, fault: Fault, action: str) -> bool:
        self._calls[number, fault.service, action] += 1
        return not fault.calls or self._calls[number, fault.service, action] in fault.calls

    def _dry(self, number: int, fault: Fault, instance_type: str, zone: str) -> bool:
        return (
            fault.kind == "capacity"
            and fault.instance_type in ("*", instance_type)
            and fault.zone in ("*", zone, zone.removeprefix(self._region))
            and (fault.launches is None or self._failed_launches[number] < fault.launches)
        )
