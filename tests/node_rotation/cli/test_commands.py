"""What a person at a terminal, or a pipeline, gets from each command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from tests.node_rotation.cli.conftest import Cli
from tests.node_rotation.crashes import dies, dies_at_the_last, run_for
from tests.node_rotation.soaking import LEFT_OUT, SOURCES, soaking
from tests.node_rotation.steps.test_image_run import WAYS
from tests.node_rotation.test_intake import HTTP

from node_rotation.cli import session
from node_rotation.errors import TransientError
from node_rotation.fleet import Settings
from node_rotation.model import Plan
from node_rotation.steps.prepare import prepare
from node_rotation.testing.faults import Fault
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.clients import Cloud, Cluster


def test_drift_is_found_named_and_exits_2(cli: Cli, world: MemoryWorld) -> None:
    ran = cli("drift")
    assert ran.code == 2
    assert "6 of 6 machines drifted" in ran.out
    for instance_id in world.on_image("base-old"):
        assert instance_id in ran.out
    assert world.mutations == []


def test_drift_as_json_is_one_document(cli: Cli, world: MemoryWorld) -> None:
    (cluster,) = cli("-o", "json", "drift").document["clusters"]
    (group,) = cluster["groups"]
    assert {m["instance_id"] for m in group["drifted"]} == set(world.on_image("base-old"))
    assert group["target"]["image"]["id"] == world.image_id("base-new")


def test_no_drift_exits_0(cli: Cli, world: MemoryWorld) -> None:
    assert cli("drift", "--image", world.image_id("base-old")).code == 0


def test_a_plan_is_a_document_that_reads_back(cli: Cli, name: str, world: MemoryWorld) -> None:
    ran = cli("-o", "json", "plan", name)
    assert ran.code == 2
    plan = Plan.model_validate(ran.document)
    assert plan.machines == 6
    assert plan.slots == 2
    assert world.mutations == []


def test_a_plan_for_people_names_batches_budget_and_time(cli: Cli, name: str) -> None:
    ran = cli("plan", name, "--max-surge", "3")
    assert "6 machines in 6 batches, 3 at once" in ran.out
    assert "workers/1 (canary)" in ran.out


def test_a_plan_says_what_it_costs_and_which_type_has_no_price(cli: Cli, name: str, fleet_file: Path) -> None:
    assert "extra instance-hours." in cli("plan", name).out
    table = {"currency": "USD", "as_of": "2026-11-01", "regions": {"eu-central-1": {"m6i.large": 10.0}}}
    (fleet_file.parent / "prices.yaml").write_text(json.dumps(table))
    fleet_file.write_text(fleet_file.read_text() + "prices: prices.yaml\n")
    assert "USD by prices of 2026-11-01." in cli("plan", name).out
    cost = cli("-o", "json", "plan", name).document["estimate"]["cost"]
    assert cost["amount"] > 0
    (fleet_file.parent / "prices.yaml").write_text(json.dumps({**table, "regions": {}}))
    assert "without m6i.large: no price" in cli("plan", name).out


def test_an_image_that_is_not_there_blocks_with_object_and_remedy(cli: Cli, name: str, world: MemoryWorld) -> None:
    ran = cli("rotate", name, "--image", "ami-00000000000000000")
    assert ran.code == 3
    assert "ami-00000000000000000" in ran.out + ran.err
    assert "Remedy: " in ran.out + ran.err
    assert world.mutations == []


def test_rotate_replaces_every_machine_and_says_so_line_by_line(cli: Cli, name: str, world: MemoryWorld) -> None:
    ran = cli("rotate", name)
    assert (ran.code, ran.err) == (0, "")
    assert world.on_image("base-old") == ()
    assert len(world.on_image("base-new")) == 6
    assert "done, 6 batches passed" in ran.out
    assert "Z workers/1 drain" in ran.out
    assert "\x1b" not in ran.out
    assert (world.orphans(), world.residue()) == ((), ())


def test_after_a_rotation_there_is_nothing_to_do(cli: Cli, name: str, world: MemoryWorld) -> None:
    cli("rotate", name)
    done = len(world.mutations)
    assert cli("drift").code == 0
    assert cli("rotate", name).code == 0
    assert len(world.mutations) == done


def test_what_a_dead_run_left_is_cleaned_up_although_nothing_is_to_be_rotated(
    cli: Cli, name: str, world: MemoryWorld
) -> None:
    dies_at_the_last(run_for(world, "cli-20261109T020000-4f2a-alice@laptop", strategy="surge"), world)
    world.clock.wait(1000.0)
    ran = cli("-o", "json", "rotate", name)
    assert (ran.code, world.residue(), world.orphans()) == (0, (), ())
    assert ran.document["batches"] == []
    assert "it went on with what alice@laptop began" in ran.err


def test_rotate_as_json_keeps_progress_out_of_stdout(cli: Cli, name: str) -> None:
    ran = cli("-o", "json", "rotate", name)
    assert ran.document["ok"] is True
    assert len(ran.document["passed"]) == 6
    assert ran.document["verdict"]["drift"] == []
    assert "workers/1 drain" in ran.err


def test_mode_plan_stops_at_the_plan(cli: Cli, name: str, world: MemoryWorld) -> None:
    ran = cli("rotate", name, "--mode", "plan")
    assert ran.code == 2
    assert world.mutations == []


def test_a_plan_made_earlier_is_carried_out_exactly(cli: Cli, name: str, world: MemoryWorld, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    planned = cli("-o", "json", "plan", name)
    path.write_text(planned.out)
    ran = cli("-o", "json", "rotate", name, "--plan", str(path))
    assert ran.code == 0
    assert ran.document["plan"] == planned.document["id"]
    assert world.on_image("base-old") == ()


def test_mode_plan_stops_at_a_plan_made_earlier_too(cli: Cli, name: str, world: MemoryWorld, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(cli("-o", "json", "plan", name).out)
    ran = cli("rotate", name, "--plan", str(path), "--mode", "plan")
    assert ran.code == 2
    assert world.mutations == []


def test_a_machine_that_is_gone_meanwhile_counts_as_done(
    cli: Cli, name: str, world: MemoryWorld, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(cli("-o", "json", "plan", name).out)
    world.cloud.terminate_in_group(world.on_image("base-old")[0], decrement=False)
    world.clock.run_until(world.settled, 600.0)
    assert len(cli("-o", "json", "rotate", name, "--plan", str(path)).document["passed"]) == 5


def test_a_plan_that_no_longer_fits_is_refused_untouched(
    cli: Cli, name: str, world: MemoryWorld, fleet_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(cli("-o", "json", "plan", name).out)
    fleet_file.write_text(fleet_file.read_text().replace("max_surge: 2", "max_surge: 4"))
    ran = cli("rotate", name, "--plan", str(path))
    assert ran.code == 3
    assert "the budget of group workers allows 4 at once, planned were 2" in ran.err
    assert "Remedy: Make a new plan" in ran.err
    assert world.mutations == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--strategy", "detach"], {"strategy": "detach"}),
        (["--max-surge", "3"], {"budget": {"max_surge": "3"}}),
        (["--set", "drain.force_after=60s"], {"drain": {"force_after": "60s"}}),
    ],
)
def test_a_plan_made_with_options_is_carried_out_with_them(
    cli: Cli, name: str, world: MemoryWorld, tmp_path: Path, options: list[str], said: object
) -> None:
    path = tmp_path / "plan.json"
    planned = cli("-o", "json", "plan", name, *options)
    path.write_text(planned.out)
    assert planned.document["overrides"] == said
    assert cli("rotate", name, "--plan", str(path)).code == 0
    assert world.on_image("base-old") == ()
    assert ("DetachInstances" in {m.action for m in world.mutations}) is ("detach" in options)


def test_who_approves_a_plan_sees_the_options_it_was_made_with(cli: Cli, name: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    options = ("--set", "gate.on_failure=skip", "--set", "canary=false", "--set", "suspend_processes=[AZRebalance]")
    path.write_text(cli("-o", "json", "plan", name, *options, "--max-surge", "50%").out)
    said = '  with: gate.on_failure=skip, canary=false, suspend_processes=["AZRebalance"], budget.max_surge=50%\n'
    assert said in cli("plan", name, *options, "--max-surge", "50%").out
    assert said in cli("rotate", name, "--plan", str(path)).out
    assert "with:" not in cli("plan", name).out


def test_what_it_says_of_failures_counts(cli: Cli, name: str, world: MemoryWorld, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(cli("-o", "json", "plan", name, "--set", "gate.on_failure=fail").out)
    world.journal.faults.append(Fault("capacity"))
    assert len(cli("-o", "json", "rotate", name, "--plan", str(path)).document["failed"]) == 6


def test_a_plan_of_a_pinned_image_is_carried_out(cli: Cli, name: str, world: MemoryWorld, tmp_path: Path) -> None:
    world.add_template_version("workers", "base-old")
    path = tmp_path / "plan.json"
    pinned = ("--image", world.image_id("base-new"), "--set", "image_step=launch_template")
    path.write_text(cli("-o", "json", "plan", name, *pinned).out)
    assert cli("rotate", name, "--plan", str(path)).code == 0
    assert len(world.on_image("base-new")) == 6


@pytest.mark.parametrize(
    "option",
    [["--strategy", "detach"], ["--max-surge", "3"], ["--image", "ami-1"], ["--set", "drain.force_after=1m"]],
)
def test_what_nobody_has_looked_at_is_refused_beside_a_plan(
    cli: Cli, name: str, world: MemoryWorld, tmp_path: Path, option: list[str]
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(cli("-o", "json", "plan", name).out)
    ran = cli("rotate", name, "--plan", str(path), *option)
    assert ran.code == 1
    assert f"{option[0]} belongs to the plan" in ran.err
    assert world.mutations == []


def test_a_plan_from_before_plans_had_options_has_none(cli: Cli, name: str, world: MemoryWorld, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    planned = cli("-o", "json", "plan", name).document
    assert planned.pop("overrides") == {}
    path.write_text(json.dumps({**planned, "schema_version": 1}))
    assert cli("rotate", name, "--plan", str(path)).code == 0
    assert world.on_image("base-old") == ()


def test_beside_such_a_plan_what_it_was_made_with_is_said_once_more(
    cli: Cli, name: str, world: MemoryWorld, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    options = ("--strategy", "detach", "--max-surge", "3", "--set", "gate.settle=1s")
    planned = cli("-o", "json", "plan", name, *options).document
    del planned["overrides"]
    path.write_text(json.dumps({**planned, "schema_version": 1}))
    refused = cli("rotate", name, "--plan", str(path))
    assert refused.code == 3
    assert "planned was detach" in refused.err
    ran = cli("rotate", name, "--plan", str(path), *options)
    assert ran.code == 0
    assert "  with: gate.settle=1s, strategy=detach, budget.max_surge=3\n" in ran.out
    assert world.on_image("base-old") == ()
    assert "DetachInstances" in {m.action for m in world.mutations}


def test_a_rotation_that_stopped_at_its_plan_gives_one_that_can_be_carried_out(
    cli: Cli, name: str, world: MemoryWorld, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(cli("-o", "json", "rotate", name, "--mode", "plan", "--strategy", "detach").out)
    assert cli("rotate", name, "--plan", str(path)).code == 0
    assert world.on_image("base-old") == ()


def test_what_blocks_a_plan_by_now_is_named_before_anything_is_touched(
    cli: Cli, name: str, world: MemoryWorld, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(cli("-o", "json", "plan", name).out)
    world.cloud.suspend("dev-workers", ["Launch"])
    before = len(world.mutations)
    ran = cli("rotate", name, "--plan", str(path))
    assert ran.code == 3
    assert "Launch of dev-workers is suspended" in ran.err
    assert "Remedy: find out why, then resume with ResumeProcesses" in ran.err
    assert len(world.mutations) == before


def test_so_is_an_image_that_was_frozen_since(cli: Cli, name: str, world: MemoryWorld, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(cli("-o", "json", "plan", name).out)
    image = world.image_id("base-new")
    assert cli("freeze", image, "--reason", "a CVE in it").code == 0
    ran = cli("rotate", name, "--plan", str(path))
    assert ran.code == 3
    assert f"image {image} (base-new) is frozen since" in ran.err
    assert f"node-rotation unfreeze {image} --reason WHY" in ran.err


def test_a_plan_of_a_newer_schema_is_refused(cli: Cli, name: str, world: MemoryWorld, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**cli("-o", "json", "plan", name).document, "schema_version": 3}))
    ran = cli("rotate", name, "--plan", str(path))
    assert ran.code == 1
    assert "this plan has schema 3" in ran.err
    assert world.mutations == []


def test_drain_takes_one_machine_out_of_use(cli: Cli, world: MemoryWorld) -> None:
    node = world.cluster.nodes()[0]
    ran = cli("drain", node.name)
    assert (ran.code, ran.err) == (0, "")
    assert f"{node.name} is drained" in ran.out
    assert next(n for n in world.cluster.nodes() if n.name == node.name).unschedulable


def test_drain_detach_terminate_leaves_a_replacement(cli: Cli, world: MemoryWorld) -> None:
    node = world.cluster.nodes()[0]
    ran = cli("-o", "json", "drain", node.instance_id, "--detach", "--terminate")
    assert ran.document["did"] == ["detached", "drained", "terminated"]
    assert world.clock.run_until(world.settled, 600.0)
    assert len(world.cluster.nodes()) == 6
    assert (world.orphans(), world.cluster.lease()) == ((), None)


def test_drain_of_what_is_not_there_touches_nothing(cli: Cli, world: MemoryWorld) -> None:
    ran = cli("drain", "nobody")
    assert ran.code == 1
    assert "no node and no machine 'nobody'" in ran.err
    assert world.mutations == []


def test_status_when_nobody_rotates(cli: Cli) -> None:
    ran = cli("status")
    assert ran.code == 0
    assert "nobody rotates it" in ran.out


def test_another_run_is_named_and_blocks(cli: Cli, name: str, world: MemoryWorld) -> None:
    world.cluster.create_lease(
        "run-7", 600.0, {"node-rotation/ledger": '{"run": "run-7", "plan": "p", "cluster": "dev.dev"}'}
    )
    held = cli("status")
    assert "held by run-7" in held.out
    assert cli("-o", "json", "status").document["clusters"][0]["held_by"] == "run-7"
    before = len(world.mutations)
    ran = cli("rotate", name)
    assert ran.code == 3
    assert "run-7" in ran.out + ran.err
    assert len(world.mutations) == before


def test_a_sweep_with_nothing_to_do_says_so(cli: Cli, world: MemoryWorld) -> None:
    ran = cli("sweep")
    assert (ran.code, world.mutations) == (0, [])
    assert "nothing to sweep" in ran.out


def test_a_sweep_goes_on_until_the_dead_run_has_left_nothing(cli: Cli, world: MemoryWorld) -> None:
    """It died with a surplus machine that pods leave at their own pace: one sweep is one command all the same."""
    assert dies(run_for(world, strategy="surge"), world, 16, before=False)
    world.clock.wait(3600.0)
    ran = cli("sweep")
    assert ran.code == 0, ran.out
    assert (world.cluster.lease(), world.orphans(), world.residue()) == (None, (), ())


def test_a_sweep_leaves_a_live_run_alone(cli: Cli, world: MemoryWorld) -> None:
    world.cluster.create_lease(
        "run-7", 600.0, {"node-rotation/ledger": '{"run": "run-7", "plan": "p", "cluster": "dev.dev"}'}
    )
    before = len(world.mutations)
    ran = cli("sweep")
    assert "run-7 is at work there" in ran.out
    assert len(world.mutations) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "nowhere"], "there is no cluster 'nowhere'"),
        (["plan", "{name}", "--group", "nobodys"], "no node group 'nobodys'"),
        (["plan", "{name}", "--role", "control-plane"], "no node group of role control-plane"),
        (["plan", "{name}", "--set", "drain.timout=5m"], "drain.timout"),
        (["plan", "{name}", "--set", "drain.timeout=5"], "not a duration"),
        (["plan", "{name}", "--set", "drain"], "not KEY=VALUE"),
        (["plan", "{name}", "--max-surge", "some"], "max_surge"),
        (["plan", "{name}", "--max-surge", "0"], "0 leaves 0 slots"),
        (["plan", "{name}", "--image", "base-new"], "image.id"),
        (["plan"], "CLUSTER"),
        (["drift", "{name}", "nowhere"], "there is no cluster 'nowhere'"),
        (["drift", "--set", "drain.timout=5m"], "drain.timout"),
        (["plan", "{name}", "--set", "poll=20m"], "run parameters: poll: a lock of 10m is not kept alive"),
        (["sweep", "{name}", "nowhere"], "there is no cluster 'nowhere'"),
        (["plan", "{name}", "--no-such-option"], "--no-such-option"),
        (["rotate", "{name}", "--plan", "/nowhere/plan.json"], "/nowhere/plan.json: can't be read"),
    ],
)
def test_what_cannot_be_right_is_one_message_and_exit_1(
    cli: Cli, name: str, world: MemoryWorld, arguments: list[str], said: str
) -> None:
    ran = cli(*(part.format(name=name) for part in arguments))
    assert ran.code == 1
    assert ran.out == ""
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert world.mutations == []


def test_an_image_command_that_fails_shows_its_output_blocks_and_leaves_nothing(
    cli: Cli, name: str, world: MemoryWorld
) -> None:
    """The clock jumps while the program runs on the wall's time, so its time limit is long."""
    world.add_template_version("workers", "base-old")
    code = "import sys; print('reading the state'); sys.exit('no such instance group')"
    command = json.dumps({"argv": [sys.executable, "-c", code], "timeout": "1000d"})
    policy = ["--set", "image.ssm=/images/base/current", "--set", "image_step=command"]
    ran = cli("rotate", name, *policy, "--set", f"image_command={command}")
    assert ran.code == 3
    assert "reading the state\n" in ran.out
    assert "the image command of group workers failed with exit code 1" in ran.err + ran.out
    assert world.residue() == ()
    assert len(world.on_image("base-old")) == 6


def test_status_says_that_an_intake_is_closed(cli: Cli, name: str, world: MemoryWorld) -> None:
    prepare(run_for(world, intake=HTTP), "workers")
    assert "intake /clusters/dev/close of node_rotation_intake is closed" in cli("status", name).out
    assert "is closed" in cli("-o", "json", "status", name).document["clusters"][0]["shut"]


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_plan_for_people_shows_the_image_step(way: str, cli: Cli, name: str, world: MemoryWorld) -> None:
    world.add_template_version("workers", "base-old")
    given = [item for key, value in WAYS[way].items() for item in ("--set", f"{key}={json.dumps(value)}")]
    ran = cli("plan", name, "--set", "image.ssm=/images/base/current", *given)
    assert f"a {way} puts it into the template first" in " ".join(ran.out.split())
    assert f"will have dev-workers launch {world.image_id('base-new')}" in ran.out
    assert world.mutations == []


@pytest.fixture
def unreachable(fleet_file: Path, world: MemoryWorld, monkeypatch: pytest.MonkeyPatch) -> str:
    """A cluster before the one that answers: its API server is away."""
    data = yaml.safe_load(fleet_file.read_text())
    group = {"name": "workers", "asg": "away-workers"}
    away = {"name": "away", "aws": {"region": world.seed.region}, "groups": [group]}
    data["environments"][0]["clusters"].insert(0, away)
    fleet_file.write_text(yaml.safe_dump(data))

    def connect(settings: Settings) -> tuple[Cloud, Cluster]:
        if settings.cluster.name == "away":
            raise TransientError("the API server can't be reached")
        return world.cloud, world.cluster

    monkeypatch.setattr(session, "connect", connect)
    return f"{world.seed.environment}.away"


def test_a_cluster_that_is_away_does_not_hide_the_drift_of_the_others(cli: Cli, unreachable: str) -> None:
    ran = cli("drift")
    assert ran.code == 1
    assert "6 of 6 machines drifted" in ran.out
    assert ran.err == f"{unreachable}: the API server can't be reached\n"
    told = cli("-o", "json", "drift").document["clusters"]
    assert [cluster.get("error", {}).get("message") for cluster in told] == [None, "the API server can't be reached"]


def test_a_sweep_goes_on_after_a_cluster_that_is_away(cli: Cli, unreachable: str) -> None:
    ran = cli("sweep")
    assert (ran.code, ran.err) == (1, f"{unreachable}: the API server can't be reached\n")
    assert "nothing to sweep" in ran.out


class TestWhileTheImageOfOneGroupSoaks:
    @pytest.fixture
    def workers(self) -> str:
        """The image that group ``workers`` runs."""
        return "base-old"

    @pytest.fixture
    def world(self, workers: str) -> MemoryWorld:
        return soaking(workers)

    @pytest.fixture(autouse=True)
    def _fleet(self, fleet_file: Path) -> None:
        document = yaml.safe_load(fleet_file.read_text())
        (cluster,) = document["environments"][0]["clusters"]
        cluster["groups"] = [
            {"name": n, "asg": f"dev-{n}", "policy": {"image": source}} for n, source in SOURCES.items()
        ]
        fleet_file.write_text(yaml.safe_dump(document))

    def test_the_others_are_planned_and_it_is_said(self, cli: Cli, name: str) -> None:
        assert cli("drift").code == 2
        ran = cli("plan", name)
        assert (ran.code, f"note: {LEFT_OUT}" in ran.out, "blocked" in ran.out) == (2, True, False)

    def test_the_others_are_rotated(self, cli: Cli, name: str, world: MemoryWorld) -> None:
        ran = cli("-o", "json", "rotate", name)
        assert (ran.code, ran.document["passed"]) == (0, ["workers/1", "workers/2"])
        assert (world.on_image("base-old"), len(world.on_image("gpu-old"))) == ((), 1)

    def test_alone_it_blocks(self, cli: Cli, name: str) -> None:
        for command in (("drift", name), ("plan", name), ("rotate", name)):
            ran = cli(*command, "--group", "gpu")
            assert (ran.code, "soaks until" in ran.out + ran.err) == (3, True)

    @pytest.mark.parametrize("workers", ["base-new"])
    def test_it_blocks_where_the_others_are_right(self, cli: Cli, name: str) -> None:
        for command in (("drift",), ("plan", name), ("rotate", name)):
            ran = cli(*command)
            assert (ran.code, "soaks until" in ran.out + ran.err) == (3, True)
