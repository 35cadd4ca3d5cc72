"""What heal has put back, by the ledger: the same lines in every report."""

from __future__ import annotations

from node_rotation.ledger import Claim, Ledger
from node_rotation.steps.image_step import back_text


def put_back_of(ledger: Ledger | None, batch: str = "") -> tuple[str, ...]:
    """One line per machine that is in its group again, and per group that launches its former image again.

    :param ledger: as it was before its groups were restored.
    :param batch: only what concerns this batch; all of them if empty.
    """
    if ledger is None:
        return ()
    claims = [claim for claim in ledger.claims if batch in ("", claim.batch)]
    names = dict.fromkeys(claim.group for claim in claims)
    groups = [ledger.groups[name] for name in names if name in ledger.groups]
    machines = [attached_text(machine, _asg(ledger, claim)) for claim in claims for machine in claim.back]
    return (*machines, *(back_text(group.asg, group.template_back) for group in groups if group.template_back))


def attached_text(machine: str, asg: str) -> str:
    """What heal says of a machine it attached again."""
    return f"instance {machine} is back in group {asg}"


def _asg(ledger: Ledger, claim: Claim) -> str:
    baseline = ledger.groups.get(claim.group)
    return baseline.asg if baseline else claim.group
