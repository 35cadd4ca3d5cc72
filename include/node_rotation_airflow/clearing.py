"""Whether a run may begin, asked by worker and triggerer alike: the world, and which runs there are."""

from __future__ import annotations

from node_rotation.clearance import look as clearance
from node_rotation.clearance.look import Clearance
from node_rotation.run import Run
from node_rotation_airflow import newest
from node_rotation_airflow.newest import Waiter


def ask(run: Run, mine: Waiter) -> Clearance:
    """Whether a run may begin; no newer one takes the place of who is pinned, or has begun already.

    Blocks: call it off the event loop.

    :param mine: what the run says of itself.
    """
    other = "" if run.settings.policy.pin else newest.newer(run.settings.name, mine)
    return clearance.look(run, f"run {other} is newer and does the same" if other else "")
