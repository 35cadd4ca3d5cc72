"""Every name a rotation leaves in the world, so that what it left can be found again."""

from __future__ import annotations

LEASE_NAME = "node-rotation"
LEASE_NAMESPACE = "kube-system"

LEDGER = "node-rotation/ledger"
"""Annotation of the Lease: one JSON document, see ``lock.Ledger``."""

SWEEP = "sweep"
"""In the ledger, in the place of a plan's id: it is of somebody who only puts back what no ledger speaks of."""

BASELINE = "node-rotation/baseline"
"""Tag of an Auto Scaling group: its sizes and what we suspended, for a sweep that finds no Lease."""

RUN = "node-rotation/run"
"""Tag of an instance: the run that works on it."""

DETACHED_FROM = "node-rotation/detached-from"
"""Tag of an instance, written before it is detached: the Auto Scaling group it came from."""

INSTANCE_TAGS = (RUN, DETACHED_FROM)

OLD_TAINT = "node-rotation/old"
OLD_EFFECT = "PreferNoSchedule"

CORDONED_BY = "node-rotation/cordoned-by"
"""Annotation of a Node that we cordoned: the run; only such nodes are uncordoned again."""

DRAINED_SINCE = "node-rotation/drained-since"
"""Annotation of a Node, written before a pod is evicted that may come back to it: since when, epoch seconds."""

SCALE_DOWN_DISABLED = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
KEPT_BY = "node-rotation/kept-by"
"""Annotation of a new Node: the run that set scale-down-disabled on it."""

ROLLED_FOR = "node-rotation/rolled-for"
"""Annotation of a Deployment's pod template: the uid of the pod it was rolled for. It stays, as kubectl's does."""

REPLICAS = "node-rotation/replicas"
"""Annotation of a paused cluster-autoscaler's Deployment: what it had, for a sweep that finds no Lease."""

LEFT_TARGETS = "node-rotation/left-target-groups"
"""Annotation of a Node, written before its machine is deregistered: where it goes back to, as ``ARN@port``."""

EXCLUDE_BALANCERS = "node.kubernetes.io/exclude-from-external-load-balancers"

MARK = "node-rotation/rotate"
"""Node annotation or instance tag set by a person: replace this machine."""
