"""What a rotation from this machine needs besides AWS and Kubernetes: the intake's address, programs. Sends nothing."""

from __future__ import annotations

from collections.abc import Iterator

from node_rotation.checkup.doctor import Check, Finding, Severity, failed
from node_rotation.errors import BlockedError, RotationError, happening_at
from node_rotation.fleet import Settings
from node_rotation.model import ImageStep
from node_rotation.outside import Outside


def findings(settings: Settings, outside: Outside) -> Iterator[Finding]:
    """What is not there, as seen from here: where Airflow rotates, its workers may see more.

    :param outside: of this machine.
    """
    yield from _intake(settings, outside)
    yield from _commands(settings, outside)


def _intake(settings: Settings, outside: Outside) -> Iterator[Finding]:
    """An address that only Airflow's connection has can't be asked from here: nobody knows."""
    policy = settings.policy.intake
    if policy is None or policy.http is None:
        return
    what = policy.object_of("intake")
    try:
        outside.http.check(policy.http)
    except BlockedError as error:
        yield failed(settings.name, Check.INTAKE, what, error, Severity.UNKNOWN)
        return
    try:
        outside.http.reach(policy.http)
    except RotationError as error:
        yield failed(settings.name, Check.INTAKE, what, error)


def _commands(settings: Settings, outside: Outside) -> Iterator[Finding]:
    """Programs that rotations from here would start; it does not block where Airflow's workers have them."""
    for group, policy in settings.groups.items():
        command = policy.image_command
        if policy.image_step is not ImageStep.COMMAND or command is None or outside.commands is None:
            continue
        try:
            with happening_at(f"group {group}"):
                outside.commands.check(command)
        except RotationError as error:
            yield failed(settings.name, Check.IMAGE_STEP, f"group {group}", error, Severity.WARNING)
