"""The API server of the tests checks as a cluster does."""

import asyncio
import os

import pytest

from support.kubernetes.cluster import Cluster, CommandFailed, running_cluster

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def container(name: str, **fields: object) -> dict:
    return {"name": name, "image": "example", "securityContext": RESTRICTED, **fields}


def pod(*containers: dict, **spec: object) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app"},
        "spec": {"containers": list(containers), **spec},
    }


@pytest.mark.real("kube-apiserver")
def test_a_restricted_namespace_refuses_a_privileged_pod(cluster: Cluster, namespace: str):
    """The level ``restricted`` is enforced, and the message names the field."""
    with pytest.raises(CommandFailed) as refused:
        cluster.apply(pod(container("app", securityContext={"privileged": True})), namespace=namespace)
    assert 'violates PodSecurity "restricted:latest": privileged' in refused.value.stderr
    assert [] == cluster.objects("pods", namespace=namespace)


@pytest.mark.real("kube-apiserver")
def test_a_privileged_namespace_accepts_a_privileged_pod(cluster: Cluster):
    """The level is that of the namespace."""
    namespace = cluster.create_namespace("privileged")
    cluster.apply(pod(container("app", securityContext={"privileged": True})), namespace=namespace)
    [accepted] = cluster.objects("pods", namespace=namespace)
    assert {"privileged": True} == accepted["spec"]["containers"][0]["securityContext"]


@pytest.mark.real("kube-apiserver")
def test_a_restricted_namespace_accepts_a_native_sidecar(cluster: Cluster, namespace: str):
    """An init container with ``restartPolicy: Always`` is accepted, and keeps it."""
    sidecar = container("canary", restartPolicy="Always")
    cluster.apply(pod(container("app"), initContainers=[sidecar]), namespace=namespace)
    stored = cluster.get("pod", "app", namespace=namespace)
    assert ["Always"] == [found.get("restartPolicy") for found in stored["spec"]["initContainers"]]


@pytest.mark.real("kube-apiserver")
def test_an_unknown_field_is_refused(cluster: Cluster, namespace: str):
    """A misspelt field is an error, not ignored."""
    with pytest.raises(CommandFailed, match=r"\.spec\.restartPolice: field not declared in schema"):
        cluster.apply(pod(container("app"), restartPolice="Always"), namespace=namespace)


@pytest.mark.real("kube-apiserver")
def test_the_pod_of_a_deployment_is_checked(cluster: Cluster, namespace: str):
    """A Deployment is accepted with a template that violates the level; its pod is not."""
    labels = {"app": "app"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "example"}]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    cluster.apply(deployment, namespace=namespace)
    with pytest.raises(CommandFailed, match='violates PodSecurity "restricted:latest": allowPrivilegeEscalation'):
        cluster.create_pod_of(deployment, namespace=namespace)
    template["spec"] = {"containers": [container("app")]}
    created = cluster.create_pod_of(deployment, namespace=namespace)
    assert (labels, "default") == (created["metadata"]["labels"], created["spec"]["serviceAccountName"])


@pytest.mark.real("kube-apiserver")
def test_a_service_account_may_only_what_a_role_allows(cluster: Cluster, namespace: str):
    """The token of a ServiceAccount reads nothing, until a Role is bound to it."""
    token = cluster.service_account_token("default", namespace=namespace)
    kubeconfig = cluster.write_kubeconfig("service-account.kubeconfig", token, namespace=namespace)
    with pytest.raises(CommandFailed, match="cannot list resource"):
        cluster.kubectl("get", "configmaps", kubeconfig=kubeconfig)
    cluster.kubectl("create", "role", "reader", "--verb=list", "--resource=configmaps", "-n", namespace)
    account = f"--serviceaccount={namespace}:default"
    cluster.kubectl("create", "rolebinding", "reader", "--role=reader", account, "-n", namespace)
    assert "" == cluster.kubectl("get", "configmaps", kubeconfig=kubeconfig)
    with pytest.raises(CommandFailed, match="cannot list resource"):
        cluster.kubectl("get", "secrets", kubeconfig=kubeconfig)


@pytest.mark.real("kube-apiserver")
def test_the_servers_end_with_their_block(tmp_path):
    """No process remains after the block, even if the block raises an exception."""

    async def fail() -> list[int]:
        pids = []
        with pytest.raises(ZeroDivisionError):
            async with running_cluster(tmp_path) as cluster:
                pids = [program._process.pid for program in (cluster._etcd, cluster.api)]
                raise ZeroDivisionError
        return pids

    pids = asyncio.run(fail())
    assert 2 == len(pids)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
