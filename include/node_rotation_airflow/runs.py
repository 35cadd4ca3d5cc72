"""The runs of this process: one set of clients and one shared look each, however many tasks wait."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from node_rotation.fleet import Settings
from node_rotation.run import Run
from node_rotation.world import Clock, Cloud, Cluster
from node_rotation_airflow.documents import Rotation

KEPT = 16
_runs: OrderedDict[tuple[str, str], Run] = OrderedDict()
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


def others(settings: Settings) -> tuple[Cloud, Cluster]:
    """The clients of another cluster of the fleet, for what only it can tell."""
    world = connect(settings)
    return world.cloud, world.cluster


def open_run(run_id: str, rotation: Rotation) -> Run:
    """The run with its clients, made once per process; to be called off the event loop.

    :param run_id: Airflow's, the lock's holder.
    """
    from node_rotation.detect import make_run

    key = (run_id, rotation.plan.id)
    with _lock:
        if key not in _runs:
            world = connect(rotation.settings)
            _runs[key] = make_run(run_id, rotation.plan, rotation.settings, *world, others=others)
            while len(_runs) > KEPT:
                _runs.popitem(last=False)
        _runs.move_to_end(key)
        return _runs[key]
