"""The endpoint: moto's server with our physics, on loopback, in this process."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Read by moto when its EC2 is imported: hundreds of images that no scenario asks for.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")

import boto3
import moto.autoscaling.urls
import moto.backends
import moto.ec2.urls
import moto.eks.urls
import moto.elb.urls
import moto.elbv2.urls
import moto.iam.urls
import moto.servicequotas.urls
import moto.ssm.urls
import moto.sts.urls
from botocore.config import Config
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from proving_ground.aws import balancers, control
from proving_ground.aws.autoscaling import AutoScalingPhysics
from proving_ground.aws.clusters import ClusterPhysics, TokenPhysics
from proving_ground.aws.ec2 import Ec2Physics
from proving_ground.aws.nodegroups import PATHS
from proving_ground.aws.parameters import ParameterPhysics
from proving_ground.aws.physics import ANSWER_LOST, LOGGED, OWNER_KEY, WORLDS
from proving_ground.aws.request_log import OK, Request
from proving_ground.aws.rights import QuotaPhysics, RightsPhysics
from proving_ground.aws.seed import seed
from proving_ground.aws.world import AwsWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proving_ground.scenario import Scenario

_PHYSICS: tuple[tuple[Any, Any], ...] = (
    (moto.autoscaling.urls, AutoScalingPhysics),
    (moto.ec2.urls, Ec2Physics),
    (moto.eks.urls, ClusterPhysics),
    (moto.iam.urls, RightsPhysics),
    (moto.servicequotas.urls, QuotaPhysics),
    (moto.ssm.urls, ParameterPhysics),
    (moto.sts.urls, TokenPhysics),
)
_BALANCING: tuple[Any, ...] = (moto.elb.urls, moto.elbv2.urls)
_MORE_PATHS: dict[Any, tuple[str, ...]] = {ClusterPhysics: PATHS}
_RESET: tuple[Any, ...] = ("autoscaling", "ec2", "eks", "ssm", "sts", "elbv2", "iam")


class _QuietHandler(MotoRequestHandler):
    # The request log is the log; werkzeug's line per request would drown it.
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


class _Application:
    """Before moto: control calls, the account; after it: what was not logged, and lost answers."""

    def __init__(self, world: AwsWorld) -> None:
        self._world = world
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith(control.PREFIX):
            return self._control(environ, start_response)
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self._world.account
        answer: Iterable[bytes] = self._moto(environ, start_response)
        if not environ.get(LOGGED):
            self._log_other(environ)
        if environ.get(ANSWER_LOST):
            # The caller sees the connection end, as after a lost packet; what was asked is done.
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return answer

    def _control(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, found = control.answer(self._world, environ["REQUEST_METHOD"], environ["PATH_INFO"], body)
        start_response(f"{status} {'OK' if status == 200 else 'Error'}", [("Content-Type", "application/json")])
        return [json.dumps(found, default=str).encode()]

    def _log_other(self, environ: dict[str, Any]) -> None:
        """A service without physics of ours: log what the request line tells."""
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path.startswith("/moto-api"):
            return
        scope = environ.get("HTTP_AUTHORIZATION", "").split("/")
        self._world.requests.append(
            Request(
                time.time(),
                scope[3] if len(scope) > 3 else "unknown",
                environ.get("HTTP_X_AMZ_TARGET", f"{method} {path}").split(".")[-1],
                {},
                OK,
                method != "GET",
                environ.get("HTTP_USER_AGENT", ""),
            )
        )


class AwsServer:
    """A running endpoint.

    :param port: 0 lets the system choose.
    :raises RuntimeError: if the port is taken, or an AWS of the same account runs in this process.
    """

    def __init__(self, scenario: Scenario, directory: Path, port: int = 0) -> None:
        if scenario.account in WORLDS:
            raise RuntimeError(
                f"An AWS of account {scenario.account} already runs in this process; stop it, or give the "
                "scenario another account."
            )
        listener = _listen(port)
        _install(scenario.account)
        self.world = AwsWorld(scenario, directory)
        WORLDS[scenario.account] = self.world
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        bound = listener.getsockname()[1]
        with listener:
            self._server = make_server(
                "127.0.0.1",
                bound,
                _Application(self.world),
                threaded=True,
                request_handler=_QuietHandler,
                fd=listener.fileno(),
            )
        self._thread = threading.Thread(target=self._server.serve_forever, name="aws", daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{bound}"
        self.world.client = self.client

    def client(self, service: str, access_key: str = OWNER_KEY) -> Any:
        """A boto3 client of this endpoint; with the default key its calls are not logged."""
        # boto3 has an overload per service; this takes any.
        factory: Any = boto3.client
        return factory(
            service,
            endpoint_url=self.endpoint,
            region_name=self.world.region,
            aws_access_key_id=access_key,
            aws_secret_access_key="unused",
            config=Config(proxies={}, retries={"total_max_attempts": 1}),
        )

    def stop(self) -> None:
        """Stop answering and end every thread; a second time it does nothing."""
        if WORLDS.get(self.world.account) is not self.world:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
        self.world.close()
        WORLDS.pop(self.world.account, None)


def serve(scenario: Scenario, directory: Path, port: int = 0, *, seeded_boot_s: float | None = None) -> AwsServer:
    """Start an AWS and fill it from a scenario; its instances are booting when this returns.

    :param directory: gets ``aws-requests.jsonl`` and ``aws-events.jsonl``.
    :param seeded_boot_s: seconds a machine boots until the caller puts ``world.machines.boot_s`` back to the
        scenario's; None: as the scenario says from the start.
    :raises RuntimeError: if the port is taken, or an AWS of the same account runs in this process.
    """
    server = AwsServer(scenario, directory, port)
    if seeded_boot_s is not None:
        server.world.machines.boot_s = seeded_boot_s
    try:
        seed(server.world, scenario)
    except BaseException:
        server.stop()
        raise
    return server


def _listen(port: int) -> socket.socket:
    """Bind here, as werkzeug would end the whole process over a port that is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise RuntimeError(f"Port {port} can't be listened on ({error}); choose another, or 0.") from error
    return listener


def _install(account: str) -> None:
    """Put our responses in place of moto's, and empty what an earlier world left of this account."""
    for urls, physics in _PHYSICS:
        urls.url_paths = dict.fromkeys((*urls.url_paths, *_MORE_PATHS.get(physics, ())), physics.dispatch)
    for urls in _BALANCING:
        urls.url_paths = dict.fromkeys(urls.url_paths, balancers.by_version)
    for service in _RESET:
        moto.backends.get_backend(service)[account].reset()
