"""config/fleet.yaml, the example that users start from: valid, and it means what its comments say."""

from __future__ import annotations

from pathlib import Path

import yaml

from node_rotation import fleet
from node_rotation.model import Kind, Role
from node_rotation.policy import Clusters, Empty, Mode

EXAMPLE = Path(__file__).parents[2] / "config" / "fleet.yaml"


def test_it_is_valid_and_in_promotion_order() -> None:
    assert fleet.load(EXAMPLE).names == ("dev.dev-example", "prod.prod-example", "prod.prod-kops")


def test_the_kops_cluster_waits_for_no_group_that_will_never_run_its_image() -> None:
    kops = fleet.load(EXAMPLE).settings("prod-kops")
    (dev,) = kops.before
    nodes = dev.origin("nodes", Kind.KOPS, Role.WORKER)
    assert dev.looked_at([nodes], dev.settings) == ()
    assert kops.policy.promotion.empty is Empty.ALLOW
    assert kops.policy.promotion.clusters is Clusters.IN_TURN


def test_production_stops_at_the_plan_unless_the_run_says_otherwise() -> None:
    example = fleet.load(EXAMPLE)
    assert example.settings("prod-example").policy.mode is Mode.PLAN
    assert example.settings("prod-example", {"mode": "rotate"}).policy.mode is Mode.ROTATE


def test_a_soak_in_one_environment_keeps_the_image_source_of_the_defaults() -> None:
    image = fleet.load(EXAMPLE).settings("prod-example").groups["workers"].image
    assert (image.template, image.soak) == (True, 72 * 3600.0)


def test_a_group_may_differ_from_its_cluster() -> None:
    groups = fleet.load(EXAMPLE).settings("prod-example").groups
    assert groups["batch"].drain.timeout == 7200.0
    assert groups["workers"].drain.timeout == 900.0


def test_the_managed_group_that_it_offers_runs_aws_images_whatever_the_defaults_name(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.strip().startswith("# - {name: apps, kind: eks-managed"))
    for n in (start, start + 1):
        lines[n] = lines[n].replace("# ", "", 1)
    told = yaml.safe_load("\n".join(lines).replace("{template: true}        #", '{owner: self, name: "base-*"} #', 1))
    assert told["defaults"]["image"] == {"owner": "self", "name": "base-*"}
    mine = tmp_path / "fleet.yaml"
    mine.write_text(yaml.safe_dump({key: value for key, value in told.items() if key != "prices"}))

    groups = fleet.load(mine).settings("dev-example").groups
    assert groups["workers"].image.name == "base-*"
    assert groups["apps"].image.from_template


def test_a_kops_cluster_lists_no_groups_and_has_both_its_etcd_clusters_probed() -> None:
    kops = fleet.load(EXAMPLE).settings("prod-kops")
    assert kops.cluster.groups == ()
    assert set(kops.policy.control_plane.etcd) == {"main", "events"}
