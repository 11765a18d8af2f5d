"""``consilium cluster``: the release's workloads as the Kubernetes API reports them, in words an operator can act on."""

from __future__ import annotations

import sys
from typing import Any

from consilium_core.errors import Unavailable


def print_workloads(namespace: str) -> int:
    """List Deployments and Jobs with the release's label; return 1 when one is not ready."""
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException
    from kubernetes.config.config_exception import ConfigException
    from urllib3.exceptions import HTTPError

    try:
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        except ConfigException:
            config.load_kube_config()  # type: ignore[no-untyped-call]
        selector = "app.kubernetes.io/name=consilium"
        deployments = client.AppsV1Api().list_namespaced_deployment(
            namespace, label_selector=selector, _request_timeout=10
        )
        jobs = client.BatchV1Api().list_namespaced_job(namespace, label_selector=selector, _request_timeout=10)
    except ConfigException as problem:
        raise Unavailable("No cluster is configured: set KUBECONFIG or run inside the cluster.") from problem
    except (ApiException, HTTPError) as problem:
        raise Unavailable(f"The cluster does not answer: {type(problem).__name__}.") from problem
    lines = [deployment_line(item) for item in deployments.items] + [job_line(item) for item in jobs.items]
    for _ready, line in lines:
        sys.stdout.write(line + "\n")
    if not lines:
        sys.stdout.write(f"Nothing of consilium runs in the namespace {namespace}.\n")
    return 0 if lines and all(ready for ready, _ in lines) else 1


def deployment_line(deployment: Any) -> tuple[bool, str]:
    """Return whether a Deployment has all its replicas, and a line about it."""
    wanted, ready = deployment.spec.replicas or 0, deployment.status.ready_replicas or 0
    return ready >= wanted, f"deployment {deployment.metadata.name:<24} {ready}/{wanted} ready"


def job_line(job: Any) -> tuple[bool, str]:
    """Return whether a Job has succeeded, and a line about it."""
    done = bool(job.status.succeeded)
    return done, f"job        {job.metadata.name:<24} {'done' if done else 'not done'}"
