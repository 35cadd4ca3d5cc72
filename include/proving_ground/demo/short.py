"""The short form: Airflow finds image drift in one environment and replaces every drifted node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proving_ground import lifecycle
from proving_ground.demo import decisions, stage, summary
from proving_ground.demo.board import Board
from proving_ground.demo.rotations import Rotations
from proving_ground.observer import report

if TYPE_CHECKING:
    from proving_ground.demo.teller import Teller

ENVIRONMENT, CLUSTER = "dev", "dev"
ENDS_WITHIN_S = 1200.0


def run(teller: Teller) -> int:
    """Run it.

    :return: 0 if the rotation succeeded and the observer found nothing wrong.
    """
    again = lifecycle.status(stage.GROUND)[0] is not None
    running = stage.ground(stage.SHORT, teller.say)
    report.clear(stage.OUT)
    if again:
        teller.say(f"a newer image comes out: {stage.publish(running)[1]}")
    airflow = stage.start_airflow(stage.SHORT, running, teller.say)
    (observer,) = stage.observe([CLUSTER], running)
    try:
        rotations = Rotations(airflow)
        teller.say(f"the nightly check looks for drift in {ENVIRONMENT}")
        (run_id,) = rotations.begin(f"{ENVIRONMENT}.{CLUSTER}")
        teller.say("drift found: the rotation has started by itself")
        teller.say(f"watch it here: {rotations.url(run_id)}")
        with Board(rotations, teller) as board:
            state = board.follow("", run_id, ENDS_WITHIN_S)
        verified = decisions.verified_at(rotations.tasks(run_id), summary.now())
        figures, code = observer.finish(ENVIRONMENT, run_id, verified)
    except BaseException:
        observer.stop()
        raise
    summary.one(teller.console, figures, state)
    summary.addresses(teller.console, airflow.url)
    return decisions.exit_code({ENVIRONMENT: state}, [code])
