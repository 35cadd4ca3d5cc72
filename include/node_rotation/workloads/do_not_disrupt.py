"""Who asks not to be disrupted: the annotations of Karpenter and of the cluster-autoscaler.

https://karpenter.sh/docs/concepts/disruption/#pod-level-controls (``"true"``, or a duration that begins with the
pod's start) and ``#node-level-controls`` (``"true"`` on a Node);
https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md (``safe-to-evict: "false"``).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from node_rotation.world.kubernetes import Node, Pod

DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
_GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def pod_asks(pod: Pod, now: float) -> str:
    """Why a pod must not be disrupted now; empty if it does not ask, or its time is over.

    A value that is neither a boolean nor a duration counts as asking: somebody meant something by it.

    :param now: epoch seconds.
    """
    if pod.annotations.get(SAFE_TO_EVICT) == "false":
        return f"a pod asks not to be disrupted ({SAFE_TO_EVICT}: false)"
    value = pod.annotations.get(DO_NOT_DISRUPT, "false")
    if value == "false":
        return ""
    said = f"a pod asks not to be disrupted ({DO_NOT_DISRUPT}: {value})"
    span_s = go_duration(value)
    if span_s is None or pod.started_at is None:
        return said
    until = pod.started_at + span_s
    return f"{said} until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%S} UTC" if now < until else ""


def node_asks(node: Node) -> str:
    """Why a node must not be disrupted; empty if it does not ask."""
    if node.annotations.get(DO_NOT_DISRUPT) == "true":
        return f"node {node.name} asks not to be disrupted ({DO_NOT_DISRUPT}: true)"
    return ""


def go_duration(text: str) -> float | None:
    """A Go duration such as ``30m``, ``1h30m`` or ``1.5h`` in seconds; None if it is none.

    :param text: an annotation's value.
    """
    parts = _GO_DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)
