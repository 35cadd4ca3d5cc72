"""Ask the members of an etcd cluster how they are, over plain HTTP(S).

``/health`` answers true only if the member knows a leader and a majority agrees to a read:
https://etcd.io/docs/v3.6/op-guide/monitoring/#health-check. The members are listed by the gRPC gateway,
https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/; a metrics listener has only the former.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from node_rotation.clients.text import short
from node_rotation.control_plane.values import EtcdAccess, EtcdCluster, EtcdMember
from node_rotation.errors import BadInputError

TIMEOUT = Timeout(connect=2.0, read=5.0)
AT_ONCE = 8


def probe(clusters: Mapping[str, EtcdAccess]) -> tuple[EtcdCluster, ...]:
    """Ask every endpoint at once; one that gives no answer is not healthy.

    :param clusters: name → where its members answer.
    :raises BadInputError: if a file for TLS can't be used.
    """
    pools = {name: _pool(name, access) for name, access in clusters.items()}
    asked = [(name, endpoint) for name, access in clusters.items() for endpoint in access.endpoints]
    with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
        answers = list(threads.map(lambda one: (one[0], _health(pools[one[0]], one[1])), asked))
    found = {name: tuple(member for of, member in answers if of == name) for name in clusters}
    return tuple(EtcdCluster(name, members, _voters(pools[name], members)) for name, members in found.items())


def _pool(name: str, access: EtcdAccess) -> PoolManager:
    context = _context(name, access) if any(e.startswith("https:") for e in access.endpoints) else None
    return PoolManager(ssl_context=context, retries=False, timeout=TIMEOUT)


def _context(name: str, access: EtcdAccess) -> ssl.SSLContext:
    """Made anew for every probe: certificates are renewed while a rotation runs."""
    files = {key: _path(getattr(access, key)) for key in ("ca", "certificate", "key")}
    try:
        context = ssl.create_default_context(cafile=files["ca"])
        if files["certificate"]:
            context.load_cert_chain(files["certificate"], files["key"])
    except OSError as error:  # ssl.SSLError is one: a file that is no certificate
        given = ", ".join(f"{key} {path}" for key, path in files.items() if path)
        raise BadInputError(
            f"control_plane.etcd.{name}", f"{given} can't be used: {short(error, 160)}.", "Give files in PEM format."
        ) from error
    return context


def _path(given: str | None) -> str | None:
    return os.path.expanduser(os.path.expandvars(given)) if given else None


def _health(pool: PoolManager, endpoint: str) -> EtcdMember:
    try:
        answer = pool.request("GET", f"{endpoint.rstrip('/')}/health")
        said = json.loads(answer.data)
    except (HTTPError, OSError, ValueError) as error:
        return EtcdMember(endpoint, False, short(error, 160))
    if not isinstance(said, dict):
        return EtcdMember(endpoint, False, short(f"HTTP {answer.status}: no answer of etcd's"))
    healthy = answer.status == 200 and said.get("health") == "true"
    return EtcdMember(endpoint, healthy, "true" if healthy else short(said.get("reason") or f"HTTP {answer.status}"))


def _voters(pool: PoolManager, members: tuple[EtcdMember, ...]) -> tuple[str, ...]:
    """Names of the voting members, from the first healthy endpoint that lists them; learners don't vote."""
    for member in members:
        if not member.healthy:
            continue
        try:
            answer = pool.request("POST", f"{member.endpoint.rstrip('/')}/v3/cluster/member/list", body=b"{}")
            listed = json.loads(answer.data)["members"] if answer.status == 200 else []
        except (HTTPError, OSError, ValueError, LookupError, TypeError):
            continue
        if listed:
            return tuple(sorted(m.get("name") or m["ID"] for m in listed if not m.get("isLearner")))
    return ()
