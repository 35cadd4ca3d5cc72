"""The whole proving ground in one process, its control planes as children: start, use, stop."""

from __future__ import annotations

import base64
import contextlib
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from proving_ground.control_plane import build, cluster
from proving_ground.control_plane.apiserver import ApiServer
from proving_ground.control_plane.members import ETCD_CLUSTERS, Members
from proving_ground.control_plane.processes import Processes
from proving_ground.masters import Masters, volumes
from proving_ground.tokens import Authenticator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from proving_ground.aws.server import AwsServer
    from proving_ground.control_plane.cluster import ControlPlane
    from proving_ground.scenario import Cluster, Scenario

    Progress = Callable[[str], None]

DAEMON = "daemon"
# The fleet a scenario starts with is there already when its story begins.
SEEDED_BOOT_S = 0.2
_LOOPBACK = "127.0.0.1,localhost"


class GroundError(RuntimeError):
    """The proving ground cannot do what was asked; the message says what to do."""


class Ground:
    """A proving ground that runs; a context manager that stops it at the end."""

    def __init__(
        self,
        scenario: Scenario,
        directory: Path,
        aws: AwsServer,
        clusters: dict[str, ControlPlane],
        etcd: dict[str, Members],
        undo: contextlib.ExitStack,
    ) -> None:
        self.scenario = scenario
        self.directory = directory
        self.aws = aws
        self.clusters = clusters
        self.etcd = etcd
        self._undo = undo

    @property
    def endpoint(self) -> str:
        """URL of the AWS side."""
        return self.aws.endpoint

    @property
    def env(self) -> dict[str, str]:
        """Environment variables that point stock AWS SDKs at this ground."""
        return environment(self.scenario, self.endpoint)

    @property
    def request_log(self) -> Path:
        """The AWS side's request log: one JSON object per call (``proving_ground.aws.request_log``)."""
        return self.aws.world.requests.path

    def kubeconfig(self, name: str) -> Path:
        """The administrator's kubeconfig of a cluster."""
        return self.clusters[name].kubeconfig

    def audit_log(self, name: str) -> Path:
        """A cluster's audit log; requests of the ground's own parts carry other user names than ``admin``."""
        return self.clusters[name].audit_log

    def stop(self) -> None:
        """Stop everything; its directory stays for looking at."""
        self._undo.close()

    def __enter__(self) -> Ground:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def environment(scenario: Scenario, endpoint: str) -> dict[str, str]:
    """What a shell or a process needs to use the AWS side; the keys are worth nothing elsewhere."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": scenario.region,
        "AWS_DEFAULT_REGION": scenario.region,
        "AWS_ACCESS_KEY_ID": "proving-ground",
        "AWS_SECRET_ACCESS_KEY": "proving-ground",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": _LOOPBACK,
        "no_proxy": _LOOPBACK,
    }


def start(scenario: Scenario, directory: Path, progress: Progress = print) -> Ground:
    """Start everything, seed it, and wait until every machine and workload is Ready.

    :param directory: gets all files; what an earlier ground left there is removed.
    :param progress: takes one line for people at a time.
    :raises GroundError: a ground already runs there, or the fleet did not come up.
    """
    binaries = build.binaries(progress)
    processes = _prepare(directory)
    with contextlib.ExitStack() as undo:
        undo.callback(lambda: processes.stop(one for one in _names(processes) if one != DAEMON))
        tools = cluster.Tools(binaries, processes, scenario.timing.heartbeat_grace)
        tokens = Authenticator(scenario.account)
        undo.callback(tokens.stop)
        say = _timed(progress)
        with ThreadPoolExecutor(max_workers=8) as pool:
            etcd = {one.name: _members(tools, scenario, one, directory) for one in scenario.clusters if _masters(one)}
            planes = pool.submit(_start_clusters, tools, scenario, directory, tokens.url, etcd)
            # moto and the Kubernetes client take seconds to import: the API servers start meanwhile.
            from node_rotation.clients.kubernetes import KubernetesCluster
            from proving_ground import seed
            from proving_ground.aws.server import serve
            from proving_ground.kube import connect
            from proving_ground.node_agent import NodeAgent

            aws = serve(scenario, directory, seeded_boot_s=SEEDED_BOOT_S)
            undo.callback(aws.stop)
            say(f"AWS answers at {aws.endpoint}")
            clusters = planes.result()
        say(f"control planes ready: {', '.join(clusters)}")
        for plane in clusters.values():
            authority = base64.b64encode(plane.certificates.ca.read_bytes()).decode()
            aws.world.register_cluster(plane.name, plane.endpoint, authority)
            aws.world.kubernetes[plane.name] = KubernetesCluster(connect(plane))
        agent = NodeAgent(scenario, clusters)
        undo.callback(agent.stop)
        agent.follow(aws.world)
        for one in scenario.clusters:
            if one.name in etcd:
                server = ApiServer(processes, clusters[one.name])
                masters = Masters(one, volumes(one, scenario.region), etcd[one.name], server)
                undo.callback(masters.stop)
                masters.follow(aws.world)
        seed.fill(scenario, clusters, say)
        aws.world.machines.boot_s = scenario.timing.boot
        return Ground(scenario, directory, aws, clusters, etcd, undo.pop_all())


def _timed(progress: Progress) -> Progress:
    began = time.monotonic()
    return lambda line: progress(f"{line} ({time.monotonic() - began:.0f} s)")


def _names(processes: Processes) -> list[str]:
    return [one.name for one in processes.recorded()]


def _prepare(directory: Path) -> Processes:
    """An empty directory to work in; nothing but what a ground makes is ever removed."""
    directory.mkdir(parents=True, exist_ok=True)
    processes = Processes(directory / "processes.json")
    if left := [one for one in processes.running() if one.name != DAEMON]:
        names = ", ".join(f"{one.name} ({one.pid})" for one in left)
        raise GroundError(f"{directory}: processes of an earlier proving ground still run: {names}; stop them first")
    # By what only a ground has in them: the directory may be anybody's.
    for mark in (*directory.glob("etcd/etcd.log"), *directory.glob("*/token-webhook.kubeconfig")):
        shutil.rmtree(mark.parent)
    for log in directory.glob("aws-*.jsonl"):
        log.unlink()
    return processes


def _masters(one: Cluster) -> bool:
    return one.kind == "kops" and any(group.role == "control-plane" for group in one.groups)


def _members(tools: cluster.Tools, scenario: Scenario, one: Cluster, directory: Path) -> Members:
    return Members(tools, one.name, directory / one.name, [volume.name for volume in volumes(one, scenario.region)])


def _start_clusters(
    tools: cluster.Tools, scenario: Scenario, directory: Path, webhook: str, own: dict[str, Members]
) -> dict[str, ControlPlane]:
    """Clusters share an etcd by prefix, but for those whose masters have members of their own."""
    shared = cluster.start_etcd(tools, directory / "etcd")

    def begin(name: str) -> ControlPlane:
        if name not in own:
            return cluster.start(tools, name, directory / name, shared, webhook)
        own[name].start()
        main, events = (",".join(own[name].endpoints(etcd)) for etcd in ETCD_CLUSTERS)
        return cluster.start(tools, name, directory / name, main, webhook, events)

    with ThreadPoolExecutor(max_workers=8) as pool:
        begun = {one.name: pool.submit(begin, one.name) for one in scenario.clusters}
        return {name: future.result() for name, future in begun.items()}
