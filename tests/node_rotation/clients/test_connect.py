"""Kubeconfigs that can't be used are named before anything is asked."""

from __future__ import annotations

import boto3
import pytest
import yaml

from node_rotation.clients.connect import kubernetes_client
from node_rotation.errors import BadInputError, BlockedError
from node_rotation.fleet import Fleet

EXEC = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "no-such-plugin", "interactiveMode": "Never"}


def settings_of(kubeconfig):
    cluster = {
        "name": "eu-1",
        "aws": {"region": "eu-central-1"},
        "kubernetes": {"kubeconfig": str(kubeconfig)},
        "groups": [{"name": "workers", "asg": "workers"}],
    }
    return Fleet.model_validate({"environments": [{"name": "dev", "clusters": [cluster]}]}).settings("eu-1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just text",
        "[1, 2]",
        "apiVersion: v1\nclusters: 5",
        "current-context: c\ncontexts: [{name: c, context: 3}]",
        "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c}]",
        "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {}}]\nusers: [{name: u, user: {token: x}}]",
    ],
)
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path, text):
    """The kubernetes package raises whatever comes to it."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(text)
    with pytest.raises(BadInputError) as refused:
        kubernetes_client(settings_of(kubeconfig), boto3.Session(region_name="eu-central-1"))
    assert refused.value.where == "kubernetes.kubeconfig of cluster dev.eu-1"
    assert str(kubeconfig) in refused.value.problem


def test_an_exec_plugin_that_fails_is_named_and_nobody_is_asked_without_credentials(tmp_path, capsys):
    kubeconfig = tmp_path / "kubeconfig"
    parts = {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"exec": EXEC}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "c", **parts}))
    with pytest.raises(BlockedError, match="exec plugin failed: .*no-such-plugin") as caught:
        kubernetes_client(settings_of(kubeconfig), boto3.Session(region_name="eu-central-1"))
    assert "cluster dev.eu-1" in str(caught.value)
    assert capsys.readouterr().err == ""
