"""The whole form: a bad image is found out in dev and frozen everywhere, a good one goes from dev to prod."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proving_ground.demo import decisions, fleet_file, image, stage, summary
from proving_ground.demo.board import REFRESH_S, Board
from proving_ground.demo.rotations import DemoError, Rotations
from proving_ground.observer import report

if TYPE_CHECKING:
    from proving_ground.demo.image import Image
    from proving_ground.demo.stage import Observer
    from proving_ground.demo.teller import Teller
    from proving_ground.state import State

REFUSED_WITHIN_S = 420.0
ENDS_WITHIN_S = 1500.0


def run(teller: Teller) -> int:
    """Run it.

    :return: 0 if every rotation succeeded and the observers found nothing wrong.
    """
    running = stage.ground(stage.ENVIRONMENTS, teller.say)
    clusters = fleet_file.write(stage.GROUND, running.endpoint, stage.ENVIRONMENTS.fleet)
    report.clear(stage.OUT)
    airflow = stage.start_airflow(stage.ENVIRONMENTS, running, teller.say)
    story = Story(running, clusters, Rotations(airflow), teller)
    try:
        refused = story.bad_image()
        story.good_image()
    except BaseException:
        story.stop()
        raise
    summary.several(teller.console, refused, list(story.figures.values()), story.states)
    summary.addresses(teller.console, airflow.url)
    return decisions.exit_code(story.states, list(story.codes.values()))


@dataclass
class Story:
    """What has happened so far.

    :param clusters: ``environment.cluster`` in promotion order.
    """

    running: State
    clusters: tuple[str, ...]
    rotations: Rotations
    teller: Teller
    runs: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    _observers: dict[str, Observer] = field(default_factory=dict)
    _approved: set[str] = field(default_factory=set)

    def bad_image(self) -> dict[str, Any]:
        """An image comes out that makes no nodes: the first environment's canary fails, nothing is lost.

        :return: the observer's figures of it.
        :raises DemoError: it was not refused, or something was lost.
        """
        bad = image.publish(self.running, "never-joins")
        self.teller.say(f"an image comes out: {bad.id} ({bad.name}); nobody knows yet that it is bad")
        first = self.clusters[0]
        self._observe(first)
        (run_id,) = self.rotations.begin(first)
        self.teller.say(f"drift found in {_environment(first)}: {self.rotations.url(run_id)}")
        with Board(self.rotations, self.teller) as board:
            state = board.follow(_environment(first), run_id, REFUSED_WITHIN_S)
        verified = decisions.verified_at(self.rotations.tasks(run_id), summary.now())
        figures, _ = self._observers.pop(first).finish(_environment(first), run_id, verified, refused=True)
        if wrong := decisions.not_refused(state, bad.id, image.frozen(self.running), figures):
            raise DemoError(f"{bad.id} was to be refused: {'; '.join(wrong)}; see {self.rotations.url(run_id)}")
        self.teller.say(f"{bad.id} is frozen; {figures['machines']} machines were there, and are there still")
        self._frozen_everywhere(bad)
        return figures

    def good_image(self) -> None:
        """A better one comes out, and is promoted from environment to environment.

        :raises DemoError: a rotation failed; those after it would wait for ever.
        """
        good = image.publish(self.running)
        self.teller.say(f"a better image comes out: {good.id} ({good.name})")
        self._observe(*self.clusters)
        until = time.monotonic() + ENDS_WITHIN_S
        self._begin(self.clusters[0])
        with Board(self.rotations, self.teller) as board:
            while len(self.figures) < len(self.clusters):
                self._look(board)
                if lost := decisions.lost(self.states):
                    raise DemoError(f"the rotation of {lost[0]} failed: {self.rotations.url(self.runs[lost[0]])}")
                if time.monotonic() > until:
                    waiting = ", ".join(self.rotations.url(self.runs[e]) for e in self.runs if e not in self.figures)
                    raise DemoError(f"not all environments are done after {ENDS_WITHIN_S:.0f} s: {waiting}")
                time.sleep(REFRESH_S)

    def stop(self) -> None:
        """End the observers that still watch."""
        for observer in self._observers.values():
            observer.stop()

    def _look(self, board: Board) -> None:
        """One look at all rotations, and what is due now."""
        going = {environment: run for environment, run in self.runs.items() if environment not in self.figures}
        shown = board.show(going)
        for environment, tasks in shown.items():
            if environment not in self._approved and decisions.may_answer(tasks, summary.now()):
                self._approved.add(environment)
                self.rotations.approve(self.runs[environment])
                self.teller.say(f"{environment} asked: approved")
            if decisions.may_be_over(tasks):
                self.states[environment] = self.rotations.state(self.runs[environment])
            if self.states.get(environment) in decisions.ENDED:
                self._finish(environment)
        begun = self.figures or any(decisions.has_begun(tasks) for tasks in shown.values())
        if begun and len(self.runs) == 1:
            for cluster in self.clusters[1:]:  # as every night, one after another; each waits for the one before
                self._begin(cluster)

    def _begin(self, cluster: str) -> None:
        environment = _environment(cluster)
        (run_id,) = self.rotations.begin(cluster)
        self.runs[environment] = run_id
        self.teller.say(f"drift found in {environment}: {self.rotations.url(run_id)}")

    def _finish(self, environment: str) -> None:
        cluster = next(one for one in self.clusters if _environment(one) == environment)
        run_id = self.runs[environment]
        verified = decisions.verified_at(self.rotations.tasks(run_id), summary.now())
        figures, code = self._observers.pop(cluster).finish(environment, run_id, verified)
        self.figures[environment], self.codes[environment] = figures, code
        self.teller.say(f"{environment}: {self.states[environment]}, {figures['machines_rotated']} machines replaced")

    def _frozen_everywhere(self, bad: Image) -> None:
        for cluster, said in zip(self.clusters, self.rotations.refusals(*self.clusters), strict=True):
            if bad.id not in said or "is frozen" not in said:
                raise DemoError(f"the check of {cluster} does not say that {bad.id} is frozen: {said[-500:]}")
        self.teller.say(f"no environment takes it: {', '.join(map(_environment, self.clusters))} say that it is frozen")

    def _observe(self, *clusters: str) -> None:
        observers = stage.observe([cluster.partition(".")[2] for cluster in clusters], self.running)
        self._observers |= dict(zip(clusters, observers, strict=True))


def _environment(cluster: str) -> str:
    return cluster.partition(".")[0]
