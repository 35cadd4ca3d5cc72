from __future__ import annotations

from typing import Any

from .support import Aws, refusal, until


def refresh_of(aws: Aws, group: str) -> dict[str, Any]:
    shown = aws.autoscaling.describe_instance_refreshes(AutoScalingGroupName=group)
    newest: dict[str, Any] = shown["InstanceRefreshes"][0]
    return newest


def ended(aws: Aws, group: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = refresh_of(aws, group)
        return found if "EndTime" in found else None

    return until(look, 30.0)


class TestInstanceRefresh:
    def test_every_machine_is_replaced_and_the_group_never_lacks_more_than_one(self, aws: Aws) -> None:
        """At 90 percent of three, one goes at a time, before its replacement comes.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/instance-refresh-overview.html
        """
        group = aws.group(3)
        before, fewest = set(aws.ids(group)), 3
        aws.autoscaling.start_instance_refresh(AutoScalingGroupName=group)
        while "EndTime" not in (found := refresh_of(aws, group)):
            serving = [m for m in aws.members(group) if m["LifecycleState"] == "InService"]
            fewest = min(fewest, len(serving))
        assert (found["Status"], found["PercentageComplete"], found["InstancesToUpdate"]) == ("Successful", 100, 0)
        assert fewest == 2
        assert before.isdisjoint(aws.ids(group))
        assert aws.shown(group)["DesiredCapacity"] == 3

    def test_machines_that_match_the_template_are_skipped_if_that_is_asked_for(self, aws: Aws) -> None:
        """https://docs.aws.amazon.com/autoscaling/ec2/userguide/asg-instance-refresh-skip-matching.html"""
        group = aws.group(2)
        before = set(aws.ids(group))
        aws.autoscaling.start_instance_refresh(AutoScalingGroupName=group, Preferences={"SkipMatching": True})
        assert ended(aws, group)["Status"] == "Successful"
        assert set(aws.ids(group)) == before

    def test_one_that_is_cancelled_finishes_what_it_began_and_begins_nothing_else(self, aws: Aws) -> None:
        """Cancelling does not roll back what was replaced.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CancelInstanceRefresh.html
        """
        group, asg = aws.group(3), aws.autoscaling
        before = set(aws.ids(group))
        started = asg.start_instance_refresh(AutoScalingGroupName=group)["InstanceRefreshId"]
        assert refusal(asg.start_instance_refresh, AutoScalingGroupName=group)[0] == "InstanceRefreshInProgress"
        until(lambda: not before <= set(aws.ids(group)))
        assert asg.cancel_instance_refresh(AutoScalingGroupName=group)["InstanceRefreshId"] == started
        assert ended(aws, group)["Status"] == "Cancelled"
        assert len(before & set(aws.ids(group))) in (1, 2)
        assert refusal(asg.cancel_instance_refresh, AutoScalingGroupName=group)[0] == "ActiveInstanceRefreshNotFound"
