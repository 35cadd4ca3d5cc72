"""Every setting of the fleet file, given what it can't be: one message that a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from node_rotation.configuration.complaint import explain
from node_rotation.configuration.places import is_model, item, names, options
from node_rotation.fleet import Fleet

AWS = {"region": "eu-central-1"}
GROUP = {"name": "workers", "asg": "dev-workers"}
MANAGED = {"name": "apps", "kind": "eks-managed", "eks_cluster": "dev", "nodegroup": "apps"}
EXAMPLE_MANAGED = "E.g. groups: [{name: apps, kind: eks-managed, eks_cluster: prod-1, nodegroup: apps}]"
CLUSTER = {"name": "one", "aws": AWS, "groups": [GROUP]}
CALL = {"path": "/x"}
OBJECT = {"kind": "ConfigMap", "name": "intake", "close": {}, "open": {}}
HTTP = {"close": CALL, "open": CALL}
GOOD: dict[str, dict[str, Any]] = {
    "Fleet": {"environments": [{"name": "dev", "clusters": [CLUSTER]}]},
    "Environment": {"name": "dev", "clusters": [CLUSTER]},
    "Cluster": CLUSTER,
    "AwsAccess": AWS,
    "NodeGroup": GROUP,
    "KopsCluster": {"cluster": "dev"},
    "ImageCommand": {"argv": ["kops"]},
    "ImagePod": {"spec": {"containers": [{"name": "a", "image": "b"}]}},
    "IntakePolicy": {"http": HTTP},
    "HttpIntake": HTTP,
    "Notify": {"http": {"connection": "chat"}},
    "HttpNotify": {"connection": "chat"},
    "HttpCall": CALL,
    "KubernetesIntake": OBJECT,
    "GateCheck": {"http": "https://x"},
    "EtcdAccess": {"endpoints": ["http://x"]},
    "Window": {"from": "22:00", "to": "05:00"},
    "Blackout": {"from": "2026-12-21", "to": "2026-12-22"},
    "PriceTable": {"currency": "USD", "as_of": "2026-11-01", "regions": {}},
}
"""A document of each model without a mistake; where there is none, nothing is needed."""
WRONG: tuple[Any, ...] = ("no such thing!", 7.5, -3, True, None, [], ["x", 3], {"nonsense": 1}, "")
PYDANTIC = re.compile(
    r"[Ii]nput should|String should|List should|Tuple should|Value error|[Vv]alid |instance of|dictionary|tuple"
    r"|boolean|unable to|Extra inputs|validation|\^\[|\\d|<|Undefined"
)


def models(model: type[BaseModel], seen: dict[str, type[BaseModel]]) -> dict[str, type[BaseModel]]:
    """Every model that a document consists of."""
    if model.__name__ not in seen:
        seen[model.__name__] = model
        for field in names(model).values():
            left = [field.annotation]
            while left:
                for option in options(left.pop()):
                    if is_model(option):
                        models(option, seen)
                    elif (inner := item(option)) is not None:
                        left.append(inner)
    return seen


MODELS = models(Fleet, {})
SETTINGS = [(name, setting) for name, model in MODELS.items() for setting in names(model)]


def complaints(model: type[BaseModel], setting: str) -> Iterator[tuple[Any, tuple[str, str, str]]]:
    for value in WRONG:
        document = {**GOOD.get(model.__name__, {}), setting: value}
        try:
            model.model_validate(document)
        except ValidationError as error:
            yield value, explain(error, document, model)


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_a_message_says_where_what_was_given_and_what_to_write(name: str, setting: str) -> None:
    found = list(complaints(MODELS[name], setting))
    assert found, "whatever is given, nobody complains"
    for value, (where, problem, remedy) in found:
        said = f"{where}: {problem} {remedy}"
        assert not PYDANTIC.search(said), said
        assert "\n" not in said
        assert (
            re.search(r"(docs|config)/\S+ describes it\.$", remedy)
            or "Did you mean" in remedy
            or "Known here" in remedy
        ), said
        if isinstance(value, str | int | float) and where == setting:
            given = {True: "true", "": "''"}.get(value) or str(value)
            assert given in problem or "empty" in problem or "no such" in problem, said


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_the_example_is_one_that_would_do(name: str, setting: str) -> None:
    """Beside what else is needed: an example of one source of an image excludes the others, so it stands alone."""
    model = MODELS[name]
    for value, (where, problem, remedy) in complaints(model, setting):
        if where != setting or "no such" in problem:
            continue
        shown = re.search(r"[Ee]\.g\. (.+); (?:docs|config)/", remedy)
        assert shown, f"{where}: {problem} {remedy}"
        written = yaml.safe_load(shown[1])
        assert list(written) == [setting], value
        assert accepted(model, {**GOOD.get(name, {}), **written}), shown[1]


def accepted(model: type[BaseModel], document: dict[str, Any]) -> bool:
    """Whether a document is one, but for what it needs beside, or can't have beside; its prices are a file."""
    if document.get("prices") == "prices.yaml":
        document = {**document, "prices": None}
    try:
        model.model_validate(document)
    except ValidationError as error:
        return all(problem["type"] == "value_error" and not problem["loc"] for problem in error.errors())
    return True


@pytest.mark.parametrize(
    ("name", "document", "said"),
    [
        ("AwsAccess", {"region": "Frankfurt"}, "'Frankfurt' is not an AWS region: write its code, not its zone"),
        (
            "Policy",
            {"strategy": "detatch"},
            "is not one of surge, detach, terminate_first, managed. Did you mean 'deta",
        ),
        ("Policy", {"canary": "perhaps"}, "'perhaps' is not true or false. E.g. canary: true"),
        ("Policy", {"drain": None}, "is empty, and has to be settings, as key: value. E.g. drain: {timeout: 15m}"),
        ("Policy", {"lock_duration": "0s"}, "0s is too little: more than 0s. E.g. lock_duration: 10m"),
        ("BudgetPolicy", {"cluster_slots": 0}, "0 is too little: at least 1. E.g. cluster_slots: 1"),
        ("PromotionPolicy", {"after": "staging"}, "'staging' is not previous or a list. E.g. after: previous"),
        ("PromotionPolicy", {"after": [3]}, "after[0]: 3 is not a text: put it in quotes. E.g. after: ['3']"),
        ("ImageSource", {"owner": 123456789012}, "123456789012 is not a text: put it in quotes. E.g. owner: '1234567"),
        ("NodeGroup", {**GROUP, "kind": "eks"}, "is not one of asg, eks-managed, kops. Did you mean 'eks-managed'?"),
        ("NodeGroup", {**GROUP, "kind": "kop"}, "Did you mean 'kops'?"),
        ("NodeGroup", {**GROUP, "asg": None}, "node group 'workers' needs either asg or asg_tags"),
        ("NodeGroup", {**GROUP, "asg_tags": {"a": "b"}}, "node group 'workers' has both asg and asg_tags: keep one"),
        ("Policy", {"suspend_processes": "AZRebalance"}, "is not a list. E.g. suspend_processes: [AZRebalance]"),
        ("Policy", {"suspend_processes": ["Launch"]}, "[0]: 'Launch' is not one of AZRebalance, AlarmNotification"),
        ("Window", {"from": "22:00", "to": "05:00", "days": ["monday"]}, "days[0]: 'monday' is not one of mon, tue"),
        ("Window", {"from": "10pm", "to": "05:00"}, "'10pm' is no time of day: write it like"),
        (
            "Window",
            {"form": "22:00", "to": "05:00"},
            "form: there is no such setting (1 more after it). Did you mean 'f",
        ),
        (
            "EtcdAccess",
            {"endpoints": ["http://{ip}:8081"]},
            "{ip} is no placeholder: {address} or {node}. E.g. endpoints: ['http://{address}:8081']",
        ),
        ("EtcdAccess", {"endpoints": ["http://{address:8081"]}, "{address:8081 is no placeholder"),
        ("EtcdAccess", {"endpoints": ["http://{Node}.internal:8081"]}, "{Node} is no placeholder"),
        ("EtcdAccess", {"endpoints": []}, "the list is empty: at least 1 is needed. E.g. endpoints: ['http://{addr"),
        ("ControlPlanePolicy", {"etcd": {"main": {"endpoint": []}}}, "Did you mean 'endpoints'?"),
        (
            "ControlPlanePolicy",
            {"etcd": {"main": ["http://x:1"]}},
            "etcd.main: a list is not settings, as key: value. E.g. main: {endpoints: ['http://{address}:8081']};",
        ),
        ("ImageCommand", {"argv": ["x"], "environment": {"A": 3}}, "put it in quotes. E.g. A: '3';"),
        ("NodeGroup", {"name": "workers", "asg_tags": {"pool": ["x"]}}, "E.g. pool: workers;"),
        ("Cluster", {**CLUSTER, "groups": [{**MANAGED, "eks_cluster": None}]}, EXAMPLE_MANAGED),
        ("Cluster", {**CLUSTER, "groups": [{**MANAGED, "kind": "asg"}]}, EXAMPLE_MANAGED),
        ("Cluster", {**CLUSTER, "groups": [{"name": "a", "kind": "eks-managed", "asg": "a"}]}, EXAMPLE_MANAGED),
        ("Cluster", {**CLUSTER, "groups": [{"name": "a", "kind": "asg"}]}, "E.g. groups: [{name: workers, asg: "),
        ("Cluster", {**CLUSTER, "groups": [{"name": "a"}]}, "E.g. groups: [{name: workers, asg: prod-workers}]"),
        ("Blackout", {"from": "Christmas", "to": "2027-01-01"}, "'Christmas' is not a date: write year-month-day"),
    ],
)
def test_in_words(name: str, document: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MODELS[name].model_validate(document)
    where, problem, remedy = explain(caught.value, document, MODELS[name])
    assert said in f"{where}: {problem} {remedy}"


def test_a_runs_example_is_written_as_a_runs() -> None:
    document = {"drain": {"timeout": "20"}}
    with pytest.raises(ValidationError) as caught:
        MODELS["Policy"].model_validate(document)
    assert "E.g. drain.timeout=15m; " in explain(caught.value, document, MODELS["Policy"], assigned=True)[2]
