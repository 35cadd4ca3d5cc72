"""A PersistentVolume as a rotation sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Volume:
    """A PersistentVolume and where it is attached.

    :param claim: ``namespace/name`` of the claim that it is bound to; empty if it is free.
    :param zones: the zones it can be used in, by its node affinity; empty: everywhere.
    :param attached: names of the nodes that a VolumeAttachment names.
    """

    name: str
    claim: str = ""
    zones: tuple[str, ...] = ()
    attached: tuple[str, ...] = ()
