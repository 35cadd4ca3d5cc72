"""The runs of this process: one set of clients and one shared look each, however many tasks wait."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

from node_rotation.clearance.answers import Answers
from node_rotation.fleet import AwsAccess, Settings
from node_rotation.outside import Outside
from node_rotation.run import Run
from node_rotation.world.clients import Clock, Cloud, Cluster
from node_rotation_airflow.documents import Rotation

if TYPE_CHECKING:
    from node_rotation.clearance.freezes import Freezes

KEPT = 16
"""So many runs are kept between two tasks or triggers; of those in use there may be as many as there are."""
Key = tuple[str, str, bool]
_runs: WeakValueDictionary[Key, Run] = WeakValueDictionary()
"""Every run that somebody uses: a second one would look at the cluster a second time."""
_kept: OrderedDict[Key, Run] = OrderedDict()
_opening: WeakValueDictionary[Key, threading.Lock] = WeakValueDictionary()
"""One for each run that is being opened: an account that does not answer keeps no other run waiting."""
_lock = threading.Lock()
_answers = Answers()
"""What clusters show to runs that wait for them."""


class World(NamedTuple):
    """One cluster, its AWS account, and the time."""

    cloud: Cloud
    cluster: Cluster
    clock: Clock


def connect(settings: Settings) -> World:
    """The clients of one cluster, made from its Airflow connections; to be called off the event loop."""
    from node_rotation.clients.wall import WallClock
    from node_rotation_airflow.hooks.cluster import ClusterHook

    return World(account(settings.cluster.aws), ClusterHook.of(settings).cluster(), WallClock())


def look_only(settings: Settings) -> World:
    """As :func:`connect`, for who plans: clients that can't change anything."""
    from node_rotation.clients.read_only import read_only

    world = connect(settings)
    return World(*read_only(world.cloud, world.cluster), world.clock)


def others(settings: Settings) -> tuple[Cloud, Cluster]:
    """The clients of another cluster of the fleet, for what only it can tell."""
    world = look_only(settings)
    return world.cloud, world.cluster


def account(access: AwsAccess) -> Cloud:
    """The client of another account of the fleet, for the images that are frozen there."""
    from node_rotation_airflow.hooks.aws import AwsCloudHook

    return AwsCloudHook(aws_conn_id=access.connection, region_name=access.region).cloud()


def freezes(settings: Settings, world: World) -> Freezes:
    """The images that nobody may roll out, for tasks that have no run yet."""
    from node_rotation.clearance.freezes import Freezes

    return Freezes(settings, world.cloud, world.clock, account)


def outside(*, commands: bool) -> Outside:
    """Intakes by their Airflow connections, and this process's programs.

    :param commands: False in a trigger: nothing may be run beside the others that wait there.
    """
    from node_rotation.clients.http import HttpClient
    from node_rotation.clients.this_machine import this_machine
    from node_rotation_airflow.hooks.intake import endpoint_of

    return Outside(HttpClient(endpoint_of), this_machine().commands if commands else None)


def open_run(run_id: str, rotation: Rotation, *, commands: bool = True) -> Run:
    """The run with its clients, made once per process; to be called off the event loop.

    :param run_id: Airflow's, the lock's holder.
    :param commands: as for :func:`outside`.
    :raises TransientError: also if Airflow does not give a connection now that the plan was made with.
    """
    key = (run_id, rotation.plan.id, commands)
    with _lock:
        opening = _opening.setdefault(key, threading.Lock())
    with opening:
        if (known := _known(key)) is not None:
            return known
        made = _made(run_id, rotation, commands=commands)
        with _lock:
            _runs[key] = made
            _keep(key, made)
        return made


def _known(key: Key) -> Run | None:
    with _lock:
        known = _runs.get(key)
        if known is not None:
            _keep(key, known)
        return known


def _keep(key: Key, run: Run) -> None:
    _kept[key] = run
    _kept.move_to_end(key)
    while len(_kept) > KEPT:
        _kept.popitem(last=False)


def _made(run_id: str, rotation: Rotation, *, commands: bool) -> Run:
    from node_rotation.detect import make_run
    from node_rotation_airflow.hooks.missing import known_from_the_plan

    with known_from_the_plan():
        world = connect(rotation.settings)
    return make_run(
        run_id,
        rotation.plan,
        rotation.settings,
        *world,
        outside=outside(commands=commands),
        others=others,  # whom the plan did not ask
        answers=_answers,
        accounts=known_from_the_plan()(account),
    )
