"""Machines that EC2 no longer has, told apart from those that we may not touch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from node_rotation.clients.aws_calls import Calls
from node_rotation.clients.aws_errors import DENIED, translated
from node_rotation.errors import BlockedError, GoneError

LIVING = ("pending", "running", "shutting-down", "stopping", "stopped")


@contextmanager
def changing(calls: Calls, service: str, action: str, machines: Sequence[str]) -> Iterator[None]:
    """:func:`translated` for a call that changes machines.

    What is not there has no tags, so a policy that asks for some denies it before anybody looks; a terminated machine
    may have lost its own while it is still shown. https://github.com/aws/karpenter-provider-aws/issues/2100

    :param machines: no more than EC2 takes as values of a filter.
    :raises GoneError: also if the call is denied and one of the machines is gone.
    """
    named = ", ".join(machines)
    try:
        with translated(service, action, named):
            yield
    except BlockedError as error:
        if not (_is_denial(error) and (gone := _gone(calls, machines))):
            raise
        what = ", ".join(gone) if len(machines) > 1 else "it"
        raise GoneError(f"{service}:{action} of {named} failed: {what} no longer exists") from error


def _is_denial(error: BlockedError) -> bool:
    cause = error.__cause__
    return isinstance(cause, ClientError) and cause.response.get("Error", {}).get("Code") in DENIED


def _gone(calls: Calls, machines: Sequence[str]) -> list[str]:
    """Those that don't live; none if EC2 does not tell."""
    wanted = {"instance-id": list(machines), "instance-state-name": list(LIVING)}
    filters = [{"Name": name, "Values": allowed} for name, allowed in wanted.items()]
    try:
        pages = list(calls.ec2.get_paginator("describe_instances").paginate(Filters=filters))
    except (ClientError, BotoCoreError):
        return []
    living = {
        i["InstanceId"] for page in pages for reservation in page["Reservations"] for i in reservation["Instances"]
    }
    return [machine for machine in machines if machine not in living]
