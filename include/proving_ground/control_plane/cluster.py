"""One cluster's control plane as plain processes on loopback: API server, controllers, scheduler, kubelets."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from proving_ground.control_plane import certificates

if TYPE_CHECKING:
    from collections.abc import Callable

    from proving_ground.control_plane.processes import Processes, Started

HERE = Path(__file__).parent
Result = TypeVar("Result")
READY_WITHIN_S = 90.0
ATTEMPTS = 3
# A Node carries this label while its kubelet lives. A label, not an annotation: kwok filters annotations on its
# own side and never notices one that goes away, so heartbeats would go on.
KUBELET_LABEL = "proving-ground/kubelet"
# Three control planes share a small machine: none takes more cores than it has.
SMALL = {"GOMAXPROCS": "2"}
ADMIN = "admin"
GROUND = "proving-ground"
APISERVER = "kube-apiserver"
CLIENTS = (ADMIN, GROUND, "kube-controller-manager", "kube-scheduler", "kwok")
CONTROLLERS = (
    "deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,job-controller,"
    "disruption-controller,node-lifecycle-controller,taint-eviction-controller,"
    "pod-garbage-collector-controller,garbage-collector-controller,namespace-controller,"
    "serviceaccount-controller,endpointslice-controller,root-ca-certificate-publisher-controller,"
    "persistentvolume-binder-controller,persistentvolume-attach-detach-controller"
)
_KWOK_ID = re.compile(rb'"id":"([^"]+)"')
# Of the log's end, in bytes: many lines.
_KWOK_SAYS_WITHIN = 65_536


class NotReadyError(RuntimeError):
    """A part of the control plane did not come up; the message names it and its log."""


@dataclass(frozen=True)
class Tools:
    """What every part needs: the binaries, the books, and how missed heartbeats are judged (seconds)."""

    binaries: Path
    processes: Processes
    heartbeat_grace_s: float = 10.0


@dataclass(frozen=True)
class ControlPlane:
    """A cluster that answers: its address, the files it lives in, and how its API server is started."""

    name: str
    directory: Path
    endpoint: str
    certificates: certificates.Certificates
    command: tuple[str, ...] = ()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, usable with a stock kubectl."""
        return self.directory / "kubeconfig"

    def kubeconfig_of(self, client: str) -> Path:
        """The kubeconfig of the ground's own parts; the audit log names them."""
        return self.kubeconfig if client == ADMIN else self.directory / "clients" / client

    @property
    def audit_log(self) -> Path:
        """One JSON object per request."""
        return self.directory / "audit.jsonl"

    @property
    def kwok_identity(self) -> str:
        """The name under which kwok holds leases: it makes one up at each start, and says it in every line it logs.

        :raises OSError: it has not said it yet.
        """
        with (self.directory / "kwok.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _KWOK_SAYS_WITHIN))
            said = _KWOK_ID.findall(log.read())
        if not said:
            raise OSError(f"kwok of {self.name} has not told its name yet")
        return bytes(said[-1]).decode()


def start_etcd(tools: Tools, directory: Path) -> str:
    """Start one etcd for all clusters of the ground (they share it by prefix).

    :return: its client URL.
    :raises NotReadyError: it did not answer in time.
    """
    directory.mkdir(parents=True, exist_ok=True)
    return retried(lambda: _start_etcd(tools, directory))


def _start_etcd(tools: Tools, directory: Path) -> str:
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    log = directory / "etcd.log"
    started = tools.processes.start(
        "etcd",
        [
            str(tools.binaries / "etcd"),
            f"--data-dir={directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # The world is thrown away at the end; waiting for the disk would only slow it down.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
        log,
        SMALL,
    )
    wait_for(started, log, lambda: answers(f"{client}/health"))
    return client


def start(
    tools: Tools, name: str, directory: Path, etcd: str, webhook: str | None = None, events: str = ""
) -> ControlPlane:
    """Start a cluster and wait until its API server is ready.

    :param directory: gets the certificates, the kubeconfig, the audit log and the logs.
    :param etcd: client URLs, by comma; this cluster keeps to the prefix /<name>.
    :param events: client URLs of an etcd of their own for events, by comma.
    :param webhook: URL that answers TokenReviews, as the IAM authenticator does on EKS.
    :raises NotReadyError: a part did not come up; names it and its log.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = certificates.write(directory / "certificates", name, CLIENTS)
    cluster = retried(lambda: _start_apiserver(tools, name, directory, (etcd, events), files, webhook))
    _start_followers(tools, cluster)
    return cluster


def _start_apiserver(
    tools: Tools,
    name: str,
    directory: Path,
    etcd: tuple[str, str],
    files: certificates.Certificates,
    webhook: str | None,
) -> ControlPlane:
    (port,) = free_ports(1)
    cluster = ControlPlane(name, directory, f"https://127.0.0.1:{port}", files)
    log = directory / f"{APISERVER}.log"
    argv = [
        str(tools.binaries / APISERVER),
        f"--etcd-servers={etcd[0]}",
        f"--etcd-prefix=/{name}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--cert-dir={directory / 'certificates'}",
        f"--client-ca-file={files.ca}",
        f"--tls-cert-file={files.certificate('server')}",
        f"--tls-private-key-file={files.key('server')}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={files.key('service-account')}",
        f"--service-account-signing-key-file={files.key('service-account')}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=RBAC",
        # Pods need no token: no container ever runs.
        "--disable-admission-plugins=ServiceAccount",
        f"--audit-policy-file={HERE / 'audit-policy.yaml'}",
        f"--audit-log-path={cluster.audit_log}",
        "--shutdown-delay-duration=0s",
    ]
    if etcd[1]:
        argv.append(f"--etcd-servers-overrides=/events#{etcd[1].replace(',', ';')}")
    if webhook:
        argv.append(f"--authentication-token-webhook-config-file={_webhook_file(directory, webhook)}")
        argv.append("--authentication-token-webhook-version=v1")
    started = tools.processes.start(f"{name}/{APISERVER}", argv, log, SMALL)
    _write_kubeconfigs(cluster)
    wait_for(started, log, lambda: answers(f"{cluster.endpoint}/readyz", files))
    return replace(cluster, command=tuple(argv))


def lease_s(grace_s: float) -> int:
    """How long a Lease lasts. kwok renews after a quarter of it, so five heartbeats fit into the grace period."""
    return max(1, math.floor(grace_s * 4 / 5))


def _start_followers(tools: Tools, cluster: ControlPlane) -> None:
    grace_s = tools.heartbeat_grace_s
    qps = ["--kube-api-qps=300", "--kube-api-burst=600"]
    parts = {
        "kube-controller-manager": [
            *qps,
            "--leader-elect=false",
            "--secure-port=0",
            f"--service-account-private-key-file={cluster.certificates.key('service-account')}",
            f"--root-ca-file={cluster.certificates.ca}",
            f"--controllers={CONTROLLERS}",
            f"--node-monitor-grace-period={grace_s}s",
            f"--node-monitor-period={min(5.0, grace_s / 5)}s",
        ],
        "kube-scheduler": [*qps, "--leader-elect=false", "--secure-port=0"],
        "kwok": [
            f"--config={HERE / 'stages.yaml'}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-label-selector={KUBELET_LABEL}=alive",
            "--cidr=10.0.0.0/16",
            "--node-ip=127.0.0.1",
            f"--node-lease-duration-seconds={lease_s(grace_s)}",
        ],
    }
    for program, arguments in parts.items():
        log = cluster.directory / f"{program}.log"
        name = f"{cluster.name}/{program}"
        argv = [str(tools.binaries / program), f"--kubeconfig={cluster.kubeconfig_of(program)}", *arguments]
        tools.processes.start(name, argv, log, SMALL)


def _write_kubeconfigs(cluster: ControlPlane) -> None:
    (cluster.directory / "clients").mkdir(exist_ok=True)
    files = cluster.certificates
    for client in CLIENTS:
        write_kubeconfig(
            cluster.kubeconfig_of(client),
            cluster={"server": cluster.endpoint, "certificate-authority": str(files.ca.resolve())},
            user={
                "client-certificate": str(files.certificate(client).resolve()),
                "client-key": str(files.key(client).resolve()),
            },
            name=cluster.name,
        )


def _webhook_file(directory: Path, url: str) -> Path:
    path = directory / "token-webhook.kubeconfig"
    write_kubeconfig(path, cluster={"server": url}, user={}, name="authenticator")
    return path


def write_kubeconfig(path: Path, *, cluster: dict[str, Any], user: dict[str, Any], name: str) -> None:
    """Write a kubeconfig with one context (as JSON, which is YAML)."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": f"{name}-admin", "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin"}}],
        "current-context": name,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on right now."""
    with contextlib.ExitStack() as open_ones:
        sockets = [open_ones.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class _PortTakenError(NotReadyError):
    """Another process took the port between our choosing and our using it."""


def retried(attempt: Callable[[], Result]) -> Result:
    """Try a start again whose ports somebody else took meanwhile."""
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(_PortTakenError):
            return attempt()
    return attempt()


def wait_for(started: Started, log: Path, ready: Callable[[], bool]) -> None:
    """Wait until a process is ready.

    :raises NotReadyError: it ended, or was not ready in time.
    """
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if ready():
            return
        if not started.process():
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            error = _PortTakenError if "address already in use" in tail else NotReadyError
            raise error(f"{started.name} ended while starting; {log} ends with:\n{tail}")
        time.sleep(0.1)
    raise NotReadyError(f"{started.name} was not ready within {READY_WITHIN_S:.0f} s; see {log}")


def answers(url: str, files: certificates.Certificates | None = None) -> bool:
    """Whether an address answers 200."""
    context = None
    if files:
        context = ssl.create_default_context(cafile=str(files.ca))
        context.load_cert_chain(files.certificate(ADMIN), files.key(ADMIN))
    try:
        handlers: list[Any] = [urllib.request.ProxyHandler({})]
        if context:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        with urllib.request.build_opener(*handlers).open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
