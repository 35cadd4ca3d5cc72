"""AWS' refusals and a connection's failures as errors of ours, in one place.

Codes: the "Common Error Types" of each API reference, and for EC2
https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-errors.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    InvalidConfigError,
    NoAuthTokenError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
    SSOError,
    TokenRetrievalError,
)

from node_rotation.checkup.rights import allow_launches, see_to_the_tag
from node_rotation.clients.text import short
from node_rotation.errors import BlockedError, GoneError, PermanentError, RotationError, TransientError
from node_rotation.outcome import Blocked

THROTTLED = frozenset(
    {
        "RequestLimitExceeded",  # ec2
        "Throttling",  # autoscaling
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",  # eks
        "RequestThrottled",
        "RequestThrottledException",
        "BandwidthLimitExceeded",
        "SlowDown",
        "EC2ThrottledException",
        "PriorRequestNotComplete",
    }
)
PASSING = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ServerException",
        "ServiceUnavailable",
        "Unavailable",
        "RequestTimeout",
        "RequestTimeoutException",
        "ResourceContention",  # autoscaling: another update of this group is under way
        "ScalingActivityInProgress",
        "TooManyUpdates",  # ssm: somebody else writes this parameter right now
        "IncorrectInstanceState",
        "IdempotentInstanceTerminated",
    }
)
CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "AuthFailure",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "InvalidAccessKeyId",
    }
)
DENIED = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
GONE = frozenset(
    {
        "InvalidInstanceID.NotFound",
        "InvalidAMIID.NotFound",
        "InvalidAMIID.Unavailable",
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateId.VersionNotFound",
        "InvalidLaunchTemplateName.NotFoundException",
        "ParameterNotFound",
        "ParameterVersionNotFound",
        "ResourceNotFoundException",
        "TargetGroupNotFound",
        "InvalidTarget",  # the machine is not there (any more), or not where the target group is
    }
)
# Auto Scaling says ValidationError for everything; only its wording tells what happened.
_GONE_TEXT = re.compile(
    r"AutoScalingGroup name not found|not part of Auto Scaling group|No managed instance found|"
    r"Launch configuration name not found|not found - null",
    re.IGNORECASE,
)
# "Desired capacity:9 must be between the specified min size:1 and max size:6", "... has min-size=1, max-size=6, and
# desired-size=6. To attach 1 instance, please update the AutoScalingGroup sizes appropriately."
_SIZES_TEXT = re.compile(r"min[- ]?size|max[- ]?size|m(?:in|ax) bound|above max value|below min value", re.IGNORECASE)
# Auto Scaling denies access; EKS calls it an invalid request.
_TEMPLATE_TEXT = re.compile(r"not authorized to (?:use|launch instances with this) launch template", re.IGNORECASE)
_ROLE = re.compile(r"(?<=on resource: )arn:[\w-]+:iam::\d*:role/[\w+=,.@/-]+")
_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    NoAuthTokenError,
    TokenRetrievalError,
    SSOError,
)
_CREDENTIALS_REMEDY = (
    "Renew the credentials of the AWS connection, or of the profile or role in the environment, then try again."
)


_READS = ("AssumeRole", "Describe", "Get", "List", "Simulate")
"""What begins so changes nothing: whatever became of it, it may be repeated."""

_NO_CREDENTIALS_REMEDY = (
    "Give the AWS connection credentials, or the environment a profile or role (aws sts get-caller-identity tells)."
)


@contextmanager
def translated(service: str, action: str, what: str) -> Iterator[None]:
    """Turn whatever botocore raises inside into an error of ours.

    :param service: as IAM spells it: ``ec2``, ``autoscaling``, ``ssm``, ``eks``, ``sts``, ``elasticloadbalancing``.
    :param action: as IAM spells it: ``DetachInstances``.
    :param what: the objects, as error messages name them.
    :raises RotationError: one of the classes of ``errors``.
    """
    try:
        yield
    except ClientError as error:
        raise translate(error, service, action, what) from error
    except BotoCoreError as error:
        raise translate_core(error, service, action, what) from error


def translate(error: ClientError, service: str, action: str, what: str) -> RotationError:
    """One refusal by AWS as an error of ours; parameters as in :func:`translated`."""
    answer: Any = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    message = short(answer.get("Error", {}).get("Message") or code)
    role = _role(error, message)
    if role:
        service, action, what = "sts", str(error.operation_name), f"{role} for {what}"
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    said = f"{service}:{action} of {what} failed: {message} ({code})"
    if code in THROTTLED or status == 429:
        return TransientError(said, retry_after_s=_retry_after_s(answer, 2.0))
    if code in CREDENTIALS:
        return BlockedError(Blocked(f"AWS does not accept our credentials: {said}", (what,), _CREDENTIALS_REMEDY))
    if code in DENIED or _TEMPLATE_TEXT.search(message):
        remedy = _trust(action, role) if role else _allow(f"{service}:{action}", message)
        return BlockedError(Blocked(f"not allowed: {said}", (role or what,), remedy))
    if code == "OptInRequired":
        remedy = "Correct aws.region of the cluster, or enable this region and service for the account."
        return BlockedError(Blocked(said, (what,), remedy))
    if code == "OperationNotPermitted":
        return BlockedError(Blocked(said, (what,), "Turn the instance's termination protection off, or leave it out."))
    if code in GONE or _GONE_TEXT.search(message):
        return GoneError(said)
    if service == "autoscaling" and _SIZES_TEXT.search(message):
        remedy = "Change the group's minimum or maximum size so that the rotation fits between them."
        return BlockedError(Blocked(said, (what,), remedy))
    if code in PASSING or status >= 500:
        return TransientError(said, retry_after_s=_retry_after_s(answer, 5.0))
    return PermanentError(said)


def _allow(action: str, message: str) -> str:
    """What lets a call be made; AWS does not say which part of the policy it was denied for."""
    if _TEMPLATE_TEXT.search(message):
        return allow_launches()
    allow = f"Allow {action} in the IAM policy of this identity"
    if action == "eks:DescribeCluster":  # a name that the policy does not have is denied, whether it exists or not
        name = "correct the cluster's name in the fleet file (kubernetes.eks_cluster)"
        return f"{allow}, or {name}: the policy is for one cluster."
    return f"{allow}{see_to_the_tag([action])}."


def _role(error: ClientError, message: str) -> str | None:
    """The role that was to be assumed; None if the call itself got an answer. Any call may have to renew it first."""
    if not error.operation_name.startswith("AssumeRole"):
        return None
    found = _ROLE.search(message)
    return f"role {found.group()}" if found else "the role"


def _trust(action: str, role: str) -> str:
    """What lets a role be assumed; by a token (web identity, SAML) the trust policy alone decides."""
    if action != "AssumeRole":
        return f"Allow sts:{action} to this identity in the role's trust policy (docs/connections.md)."
    return (
        f"Allow sts:AssumeRole on {role} in the IAM policy of this identity, and name this identity in the role's "
        "trust policy (docs/connections.md)."
    )


def translate_core(error: BotoCoreError, service: str, action: str, what: str) -> RotationError:
    """What never got as far as an answer from AWS; parameters as in :func:`translated`."""
    said = f"{service}:{action} of {what} failed: {short(error)}"
    if isinstance(error, ProfileNotFound):
        remedy = "Correct aws.profile of the cluster or AWS_PROFILE, or add the profile to the AWS config."
        return BlockedError(Blocked(f"no AWS credentials: {short(error)}", (what,), remedy))
    if isinstance(error, _NO_CREDENTIALS):
        return BlockedError(Blocked(f"no AWS credentials: {said}", (what,), _NO_CREDENTIALS_REMEDY))
    if isinstance(error, NoRegionError | InvalidConfigError):
        return BlockedError(Blocked(said, (what,), "Correct the AWS configuration: region, profile, endpoint."))
    if isinstance(error, SSLError):
        return BlockedError(Blocked(said, (what,), "Check the certificate bundle (AWS_CA_BUNDLE) and any proxy."))
    if isinstance(error, ConnectionError | HTTPClientError) and action.startswith(_READS):
        return TransientError(f"{said}; is the region right, and is there a way to AWS from here (VPN, proxy)?")
    if isinstance(error, ConnectionError | HTTPClientError):
        return TransientError(f"{said} (its outcome is unknown: look before repeating)")
    return PermanentError(said)


def _retry_after_s(answer: Any, default_s: float) -> float:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return float(headers["retry-after"])
    except (KeyError, ValueError):
        return default_s
