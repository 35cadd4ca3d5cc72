"""The runs of this process: one set of clients and one shared look each, however many tasks wait."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from node_rotation.fleet import Settings
from node_rotation.outside import Outside
from node_rotation.run import Run
from node_rotation.world import Clock, Cloud, Cluster
from node_rotation_airflow.documents import Rotation

KEPT = 16
_runs: OrderedDict[tuple[str, str, bool], Run] = OrderedDict()
_lock = threading.Lock()


class World(NamedTuple):
    """One cluster, its AWS account, and the time."""

    cloud: Cloud
    cluster: Cluster
    clock: Clock


def connect(settings: Settings) -> World:
    """The clients of one cluster, made from its Airflow connections; to be called off the event loop."""
    from node_rotation.clients.wall import WallClock
    from node_rotation_airflow.hooks.aws import AwsCloudHook
    from node_rotation_airflow.hooks.cluster import ClusterHook

    aws = AwsCloudHook(aws_conn_id=settings.cluster.aws.connection, region_name=settings.cluster.aws.region)
    return World(aws.cloud(), ClusterHook.of(settings).cluster(), WallClock())


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
    """
    from node_rotation.detect import make_run

    key = (run_id, rotation.plan.id, commands)
    with _lock:
        if key not in _runs:
            reached, settings = connect(rotation.settings), rotation.settings
            given = outside(commands=commands)
            _runs[key] = make_run(run_id, rotation.plan, settings, *reached, outside=given)
            while len(_runs) > KEPT:
                _runs.popitem(last=False)
        _runs.move_to_end(key)
        return _runs[key]
