"""Target groups and lifecycle hooks behave as AWS documents them."""

from __future__ import annotations

import itertools
import time
from typing import Any

from tests.proving_ground.aws.support import Aws, refusal, until

LAUNCHING, TERMINATING = "autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"
NUMBERS = itertools.count()


def target_group(aws: Aws, *, delay: int = 1, used: bool = True) -> str:
    """A target group with its deregistration delay; used, once a load balancer forwards to it."""
    elb, name = aws.client("elbv2"), f"targets-{next(NUMBERS)}"
    subnets = aws.subnets().split(",")
    vpc = aws.ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["VpcId"]
    arn = str(
        elb.create_target_group(Name=name, Protocol="TCP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]
    )
    attribute = {"Key": "deregistration_delay.timeout_seconds", "Value": str(delay)}
    elb.modify_target_group_attributes(TargetGroupArn=arn, Attributes=[attribute])
    if used:
        balancer = elb.create_load_balancer(Name=name, Type="network", Subnets=subnets)["LoadBalancers"][0]
        forward = [{"Type": "forward", "TargetGroupArn": arn}]
        elb.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="TCP", Port=80, DefaultActions=forward
        )
    return arn


def health(aws: Aws, arn: str, *named: str) -> dict[str, tuple[str, str]]:
    """State and reason of each target."""
    asked: dict[str, Any] = {"Targets": [{"Id": i} for i in named]} if named else {}
    found = aws.client("elbv2").describe_target_health(TargetGroupArn=arn, **asked)["TargetHealthDescriptions"]
    return {t["Target"]["Id"]: (t["TargetHealth"]["State"], t["TargetHealth"].get("Reason", "")) for t in found}


def in_state(aws: Aws, arn: str, instance: str, state: str) -> bool:
    return health(aws, arn).get(instance, ("", ""))[0] == state


def states(aws: Aws, group: str) -> list[str]:
    return [m["LifecycleState"] for m in aws.members(group)]


def served(aws: Aws, desired: int = 1, *, delay: int = 1, **more: Any) -> tuple[str, str]:
    """A group whose machines are all healthy in a target group."""
    arn = target_group(aws, delay=delay)
    group = aws.group(desired, TargetGroupARNs=[arn], **more)
    until(lambda: len([s for s, _ in health(aws, arn).values() if s == "healthy"]) == desired)
    return group, arn


class TestTargets:
    def test_members_are_registered_checked_and_healthy(self, aws: Aws) -> None:
        """Registered before it is InService, initial until the first checks are over.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html
        https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
        """
        arn = target_group(aws)
        group = aws.group(1, TargetGroupARNs=[arn])
        (machine,) = aws.ids(group)
        assert health(aws, arn) == {machine: ("initial", "Elb.InitialHealthChecking")}
        until(lambda: health(aws, arn) == {machine: ("healthy", "")})
        assert aws.shown(group)["TargetGroupARNs"] == [arn]

    def test_a_deregistered_target_drains_for_its_delay_and_stays_a_member(self, aws: Aws) -> None:
        """ "... before changing the state of a deregistering target from draining to unused".

        https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html
        """
        group, arn = served(aws, delay=2)
        (machine,), elb, began = aws.ids(group), aws.client("elbv2"), time.monotonic()
        elb.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": machine}])
        assert health(aws, arn) == {machine: ("draining", "Target.DeregistrationInProgress")}
        until(lambda: not health(aws, arn))
        assert time.monotonic() - began >= 1.9
        assert health(aws, arn, machine) == {machine: ("unused", "Target.NotRegistered")}
        assert states(aws, group) == ["InService"]
        elb.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": machine}])  # "the action returns successfully"

    def test_without_a_load_balancer_targets_are_unused(self, aws: Aws) -> None:
        """Target.NotInUse.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
        """
        arn = target_group(aws, used=False)
        group = aws.group(1, TargetGroupARNs=[arn])
        assert health(aws, arn) == {aws.ids(group)[0]: ("unused", "Target.NotInUse")}

    def test_only_machines_that_run_are_registered(self, aws: Aws) -> None:
        """ "If the target is an EC2 instance, it must be in the running state when you register it."

        https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html
        """
        group, arn = aws.group(1), target_group(aws)
        (machine,) = aws.ids(group)
        aws.autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=machine, ShouldDecrementDesiredCapacity=True
        )
        until(lambda: aws.state(machine) == "terminated")
        register = aws.client("elbv2").register_targets
        assert refusal(register, TargetGroupArn=arn, Targets=[{"Id": machine}])[0] == "InvalidTarget"
        assert refusal(register, TargetGroupArn=f"{arn}x", Targets=[{"Id": machine}])[0] == "TargetGroupNotFound"

    def test_auto_scaling_deregisters_and_drains_before_it_terminates(self, aws: Aws) -> None:
        """The terminating instance is first deregistered, and connection draining waited for.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
        """
        group, arn = served(aws)
        (machine,) = aws.ids(group)
        aws.autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=machine, ShouldDecrementDesiredCapacity=True
        )
        assert (states(aws, group), aws.state(machine)) == (["Terminating"], "running")
        assert in_state(aws, arn, machine, "draining")
        assert aws.activities(group)[0]["StatusCode"] == "WaitingForELBConnectionDraining"
        until(lambda: aws.state(machine) == "terminated")
        assert health(aws, arn) == {}

    def test_detaching_deregisters_at_once_and_attaching_registers(self, aws: Aws) -> None:
        """ "If there are target groups attached to the Auto Scaling group, the instances are deregistered".

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DetachInstances.html
        """
        group, arn = served(aws)
        (machine,) = aws.ids(group)
        aws.autoscaling.detach_instances(
            AutoScalingGroupName=group, InstanceIds=[machine], ShouldDecrementDesiredCapacity=True
        )
        assert in_state(aws, arn, machine, "draining")
        until(lambda: not aws.members(group))
        aws.autoscaling.attach_instances(AutoScalingGroupName=group, InstanceIds=[machine])
        until(lambda: in_state(aws, arn, machine, "healthy"))

    def test_what_comes_while_registering_is_suspended_is_not_registered(self, aws: Aws) -> None:
        """AddToLoadBalancer: "does not add new instances", also not once it is resumed.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html
        """
        arn = target_group(aws)
        group = aws.group(0, TargetGroupARNs=[arn])
        suspend = {"AutoScalingGroupName": group, "ScalingProcesses": ["AddToLoadBalancer"]}
        aws.autoscaling.suspend_processes(**suspend)
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
        aws.settle(group, 1)
        aws.autoscaling.resume_processes(**suspend)
        assert health(aws, arn) == {}

    def test_load_balancer_checks_replace_what_leaves_unless_health_checks_are_suspended(self, aws: Aws) -> None:
        """With health check type ELB a target that is not healthy makes its machine unhealthy, for good.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-health-checks.html
        """
        group, arn = served(aws, HealthCheckType="ELB")
        (machine,), elb = aws.ids(group), aws.client("elbv2")
        suspend = {"AutoScalingGroupName": group, "ScalingProcesses": ["HealthCheck"]}
        aws.autoscaling.suspend_processes(**suspend)
        elb.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": machine}])
        until(lambda: not health(aws, arn))
        assert aws.members(group)[0]["HealthStatus"] == "Healthy"
        aws.autoscaling.resume_processes(**suspend)
        until(lambda: machine not in aws.ids(group))
        assert any("ELB system health check failure" in a["Cause"] for a in aws.activities(group))


class TestHooks:
    def hook(self, aws: Aws, group: str, transition: str, **more: Any) -> None:
        aws.autoscaling.put_lifecycle_hook(
            AutoScalingGroupName=group, LifecycleHookName="hook", LifecycleTransition=transition, **more
        )

    def complete(self, aws: Aws, group: str, result: str) -> None:
        aws.autoscaling.complete_lifecycle_action(
            AutoScalingGroupName=group,
            LifecycleHookName="hook",
            LifecycleActionResult=result,
            InstanceId=aws.ids(group)[0],
        )

    def test_a_launch_waits_until_it_is_told_to_continue(self, aws: Aws) -> None:
        """Pending:Wait, then Pending:Proceed and InService; the activity is MidLifecycleAction.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
        """
        arn = target_group(aws)
        group = aws.group(0, TargetGroupARNs=[arn])
        self.hook(aws, group, LAUNCHING)
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
        until(lambda: states(aws, group) == ["Pending:Wait"])
        assert aws.activities(group)[0]["StatusCode"] == "MidLifecycleAction"
        assert health(aws, arn) == {}
        self.complete(aws, group, "CONTINUE")
        aws.settle(group, 1)
        assert refusal(
            aws.autoscaling.complete_lifecycle_action,
            AutoScalingGroupName=group,
            LifecycleHookName="hook",
            LifecycleActionResult="CONTINUE",
            InstanceId=aws.ids(group)[0],
        )[1].startswith("No active Lifecycle Action found")

    def test_an_abandoned_launch_is_terminated_and_replaced(self, aws: Aws) -> None:
        """ABANDON.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html
        """
        group = aws.group(0)
        self.hook(aws, group, LAUNCHING)
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
        until(lambda: states(aws, group) == ["Pending:Wait"])
        (first,) = aws.ids(group)
        self.complete(aws, group, "ABANDON")
        until(lambda: aws.state(first) == "terminated")
        until(lambda: states(aws, group) == ["Pending:Wait"])
        assert first not in aws.ids(group)

    def test_a_termination_waits_after_the_deregistration(self, aws: Aws) -> None:
        """Terminating:Wait once the connections are drained; either result then terminates it.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
        """
        group, arn = served(aws)
        self.hook(aws, group, TERMINATING)
        (machine,) = aws.ids(group)
        aws.autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=machine, ShouldDecrementDesiredCapacity=True
        )
        until(lambda: states(aws, group) == ["Terminating:Wait"])
        assert (health(aws, arn), aws.state(machine)) == ({}, "running")
        self.complete(aws, group, "ABANDON")
        until(lambda: aws.state(machine) == "terminated")

    def test_a_detached_machine_meets_no_terminating_hook(self, aws: Aws) -> None:
        """Detaching, Detached: another way than Terminating.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html
        """
        group = aws.group(1)
        self.hook(aws, group, TERMINATING)
        (machine,) = aws.ids(group)
        aws.autoscaling.detach_instances(
            AutoScalingGroupName=group, InstanceIds=[machine], ShouldDecrementDesiredCapacity=True
        )
        until(lambda: not aws.members(group))
        aws.ec2.terminate_instances(InstanceIds=[machine])
        until(lambda: aws.state(machine) == "terminated", 5.0)

    def test_deleting_a_hook_completes_what_waits(self, aws: Aws) -> None:
        """ "outstanding lifecycle actions ... are completed first (ABANDON for launching, CONTINUE for terminating)".

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteLifecycleHook.html
        """
        group = aws.group(1)
        self.hook(aws, group, TERMINATING)
        (machine,) = aws.ids(group)
        aws.autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=machine, ShouldDecrementDesiredCapacity=True
        )
        until(lambda: states(aws, group) == ["Terminating:Wait"])
        aws.autoscaling.delete_lifecycle_hook(AutoScalingGroupName=group, LifecycleHookName="hook")
        until(lambda: aws.state(machine) == "terminated")

    def test_a_hooks_timeout_has_bounds(self, aws: Aws) -> None:
        """30 to 7200 seconds, an hour if nothing is said; at most 100 times that, or 48 hours.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
        """
        group, put = aws.group(0), aws.autoscaling.put_lifecycle_hook
        asked = {"AutoScalingGroupName": group, "LifecycleHookName": "hook", "LifecycleTransition": LAUNCHING}
        assert refusal(put, **asked, HeartbeatTimeout=20)[0] == "ValidationError"
        put(**asked, HeartbeatTimeout=60)
        (shown,) = aws.autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]
        assert (shown["HeartbeatTimeout"], shown["GlobalTimeout"], shown["DefaultResult"]) == (60, 6000, "ABANDON")
