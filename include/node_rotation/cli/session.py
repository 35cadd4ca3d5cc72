"""What a command works on: one cluster of the fleet, reached, and the groups that were chosen."""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from node_rotation import detect, fleet
from node_rotation.checkup.rights import Access, Account, Answer
from node_rotation.clearance.freezes import Freezes
from node_rotation.clients.read_only import read_only
from node_rotation.errors import BadInputError
from node_rotation.fleet import AwsAccess, Settings
from node_rotation.kops.discovery import discover
from node_rotation.model import GroupDrift, Plan, Role
from node_rotation.outside import Outside
from node_rotation.planning import make_plan
from node_rotation.run import Run
from node_rotation.status import cli_run_id
from node_rotation.world.clients import Clock, Cloud, Cluster
from node_rotation.world.snapshot import Snapshot


def connect(settings: Settings) -> tuple[Cloud, Cluster]:
    """Reach a cluster by the standard AWS and kubeconfig chains; tests put another world here."""
    from node_rotation.clients.connect import connect as reach  # boto3 and kubernetes: `--help` does without

    return reach(settings)


def account(access: AwsAccess) -> Cloud:
    """Reach one account and region by the standard AWS chain; tests put another world here."""
    from node_rotation.clients.connect import account as reach

    return reach(access)


def askers(settings: Settings) -> tuple[Account, Access]:
    """What a check-up asks, by the same chains; tests put another world here."""
    from node_rotation.clients.connect import askers as reach

    return reach(settings)


def aws_asker(settings: Settings) -> Account:
    """The half of :func:`askers` that needs no API server; tests put another world here."""
    from node_rotation.clients.connect import aws_asker as reach

    return reach(settings)


def airflow_knows(connection: str) -> Answer:
    """Ask an Airflow that is installed here for a connection; tests put another one here."""
    from node_rotation.clients.airflow_connections import knows

    return knows(connection)


def outside() -> Outside:
    """The network and the programs of this machine; tests put others here."""
    from node_rotation.clients.this_machine import this_machine

    return this_machine()


def wall_clock() -> Clock:
    """The wall's clock; tests put a virtual one here."""
    from node_rotation.clients.wall import WallClock

    return WallClock()


@dataclass(frozen=True, slots=True)
class Session:
    """One cluster, reached.

    :param groups: names of the node groups that were chosen, in the fleet's order.
    :param file: the fleet file, for messages.
    """

    settings: Settings
    groups: tuple[str, ...]
    cloud: Cloud
    cluster: Cluster
    clock: Clock
    file: Path | None = None

    def observe(self) -> Snapshot:
        """Look at the cluster now.

        :raises BadInputError: if the fleet file names what is not there.
        """
        with said_of(self.file):
            return detect.observe(self.settings, *read_only(self.cloud, self.cluster), self.clock)

    def drift(self, snapshot: Snapshot) -> tuple[GroupDrift, ...]:
        """The drift of every chosen group, all from one observation."""
        world, frozen = (*read_only(self.cloud, self.cluster), self.clock), self.freezes()()
        return tuple(
            detect.detect(self.settings, group, *world, snapshot=snapshot, frozen=frozen) for group in self.groups
        )

    def freezes(self) -> Freezes:
        """The images that nobody may roll out."""
        return Freezes(self.settings, self.cloud, self.clock, account)

    def plan(self) -> Plan:
        """Look, and plan from what was seen."""
        snapshot = self.observe()
        return make_plan(self.settings, self.drift(snapshot), snapshot, self.clock.now())

    def run(self, run_id: str, plan: Plan) -> Run:
        """A run of a plan, able to reach the fleet's other clusters."""
        world = (self.cloud, self.cluster, self.clock)
        return detect.make_run(run_id, plan, self.settings, *world, others=connect, accounts=account)

    def run_id(self) -> str:
        """An id that nobody else has: it becomes the lock's holder."""
        moment = datetime.fromtimestamp(self.clock.now(), UTC)
        return cli_run_id(f"{moment:%Y%m%dT%H%M%SZ}", secrets.token_hex(3), _who())


def user() -> str:
    """Who runs the command, as it goes on record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name (OSError since Python 3.13)
        return f"uid-{os.getuid()}"


def _who() -> str:
    """``user@host``, so that whoever meets the lock knows whom to ask."""
    return re.sub(r"[^\w.@-]", "_", f"{user()}@{socket.gethostname()}", flags=re.ASCII)  # it becomes an EC2 tag's value


def open_session(
    file: Path,
    cluster: str,
    policy: Mapping[str, Any] | None = None,
    groups: Sequence[str] | None = None,
    role: Role | None = None,
    *,
    to_plan: bool = True,
) -> Session:
    """Read the fleet file and reach one of its clusters.

    :param file: the fleet file.
    :param cluster: ``name`` or ``environment.name``.
    :param policy: the run's layer.
    :param groups: only these node groups.
    :param role: only groups of this role.
    :param to_plan: as :func:`discover` takes it.
    :raises BadInputError: before anything is reached.
    """
    known = fleet.load(file)
    with said_of(file):  # is there such a cluster? what the run says on top is not the file's
        known.settings(cluster)
    settings = known.settings(cluster, policy)
    if settings.cluster.groups:  # whatever the file alone can tell is said before anything is reached
        _choose(settings, groups or (), role)
    with said_of(file):
        reached = connect(settings)
        settings = discover(settings, reached[0], to_plan=to_plan)
    chosen = _choose(settings, groups or (), role)
    return Session(settings, chosen, *reached, wall_clock(), file)


@contextmanager
def said_of(file: Path | None) -> Iterator[None]:
    """Name the fleet file in what is wrong with it."""
    try:
        yield
    except BadInputError as error:
        where = f"{file}: {error.where}" if file else error.where
        raise BadInputError(where, error.problem, error.remedy) from error


def cluster_names(file: Path, given: Sequence[str] | None, policy: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """The clusters a command is about, each ``environment.cluster`` and once.

    :param file: the fleet file.
    :param given: names as typed; none means every cluster, in promotion order.
    :param policy: the run's layer.
    :raises BadInputError: if one is not there, or the layer is none: before any of them is touched.
    """
    known = fleet.load(file)
    with said_of(file):
        names = tuple(dict.fromkeys(known.settings(name).name for name in given)) if given else known.names
    for name in names:
        known.settings(name, policy)
    return names


def _choose(settings: Settings, groups: Sequence[str], role: Role | None) -> tuple[str, ...]:
    known = {group.name: group for group in settings.cluster.groups}
    for name in groups:
        if name not in known:
            raise BadInputError(
                "--group", f"{settings.name} has no node group {name!r}.", f"Known: {', '.join(known)}."
            )
    chosen = tuple(
        name for name, group in known.items() if (not groups or name in groups) and role in (None, group.role)
    )
    if not chosen:
        roles = ", ".join(f"{name} ({group.role})" for name, group in known.items())
        problem = f"{settings.name} has no node group of role {role} among those chosen."
        raise BadInputError("--role", problem, f"Known: {roles}.")
    return chosen
