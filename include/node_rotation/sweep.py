"""Clean up after a dead run: heal and restore by its own ledger, then whatever residue has no Lease."""

from __future__ import annotations

from dataclasses import dataclass

from node_rotation.fleet import Settings
from node_rotation.world import Clock, Cloud, Cluster


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did to one cluster.

    :param did: one line per thing done.
    :param left: what it could not clean up, each naming its object.
    :param held_by: the live run that holds the cluster; then nothing was touched.
    """

    did: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    held_by: str = ""


def sweep(settings: Settings, cloud: Cloud, cluster: Cluster, clock: Clock, holder: str) -> Swept:
    """Remove what a dead run left in one cluster; touches nothing while a live run holds the lock.

    May have to be called again: pods leave a surplus machine at their own pace, then ``left`` says so.

    :param holder: this sweep's own id, the lock's holder meanwhile.
    """
    raise NotImplementedError
