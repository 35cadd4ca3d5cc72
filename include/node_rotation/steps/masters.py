"""May one machine go by itself: of a master, etcd is asked first, whoever sends it away (docs/adr/0014)."""

from __future__ import annotations

from dataclasses import replace

from node_rotation.control_plane import endpoints, quorum
from node_rotation.errors import BlockedError
from node_rotation.outcome import Blocked
from node_rotation.run import Run

_REMEDY = "Bring the control plane back to health; control_plane in the fleet file says what is accepted."


def require_may_go(run: Run, machine: str) -> None:
    """Let a machine go unless it is a master that the others can't do without. Reads only.

    :param machine: its instance id.
    :raises BlockedError: if it is a master that may not go, by the world as it is now.
    """
    if held := _held_back(run, machine):
        node = run.look().node_of(machine)
        what = f"node {node.name}" if node else f"instance {machine}"
        raise BlockedError(Blocked(f"a master may not go: {'; '.join(held)}", (what,), _REMEDY))


def _held_back(run: Run, machine: str) -> tuple[str, ...]:
    settings = run.settings
    if not quorum.is_master(settings, run.look(), machine):
        return ()
    run.look.forget()
    snapshot = run.look()
    if snapshot.control_plane is None:  # the fleet file has no masters: no look asks for them
        state = endpoints.asked(settings.policy.control_plane, snapshot.nodes, run.cluster.control_plane)
        snapshot = replace(snapshot, control_plane=state)
    return quorum.before(settings, snapshot, [machine])
