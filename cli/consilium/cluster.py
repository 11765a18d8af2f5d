"""``consilium cluster``: the release's workloads as the Kubernetes API reports them, in words an operator can act on."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from consilium_core.errors import Unavailable

Line = tuple[bool, str]


def print_workloads(namespace: str) -> int:
    """List Deployments, CronJobs and Jobs with the release's label; return 1 when one is not ready."""
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException
    from kubernetes.config.config_exception import ConfigException
    from urllib3.exceptions import HTTPError

    try:
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        except ConfigException:
            config.load_kube_config()  # type: ignore[no-untyped-call]
        asked: dict[str, Any] = {"label_selector": "app.kubernetes.io/name=consilium", "_request_timeout": 10}
        deployments = client.AppsV1Api().list_namespaced_deployment(namespace, **asked)
        batch = client.BatchV1Api()
        crons, jobs = batch.list_namespaced_cron_job(namespace, **asked), batch.list_namespaced_job(namespace, **asked)
    except ConfigException as problem:
        raise Unavailable("No cluster is configured: set KUBECONFIG or run inside the cluster.") from problem
    except (ApiException, HTTPError) as problem:
        raise Unavailable(f"The cluster does not answer: {type(problem).__name__}.") from problem
    lines = workload_lines(deployments.items, crons.items, jobs.items)
    for _ready, line in lines:
        sys.stdout.write(line + "\n")
    if not lines:
        sys.stdout.write(f"Nothing of consilium runs in the namespace {namespace}.\n")
    return 0 if lines and all(ready for ready, _ in lines) else 1


def workload_lines(deployments: Iterable[Any], crons: Iterable[Any], jobs: Iterable[Any]) -> list[Line]:
    """Return a line for each workload; the runs of a CronJob stand in its line, not in lines of their own."""
    own = [job for job in jobs if not any(o.kind == "CronJob" for o in job.metadata.owner_references or ())]
    return [
        *(deployment_line(item) for item in deployments),
        *(cron_line(item) for item in crons),
        *(job_line(item) for item in own),
    ]


def deployment_line(deployment: Any) -> Line:
    """Return whether a Deployment has all its replicas, and a line about it."""
    wanted, ready = deployment.spec.replicas or 0, deployment.status.ready_replicas or 0
    return ready >= wanted, f"deployment {deployment.metadata.name:<24} {ready}/{wanted} ready"


def cron_line(cron: Any) -> Line:
    """Return whether a CronJob's last run that has ended came through, and a line about it."""
    begun, good = cron.status.last_schedule_time, cron.status.last_successful_time
    fine = begun is None or bool(cron.status.active) or (good is not None and good >= begun)
    now = "suspended" if cron.spec.suspend else "running" if cron.status.active else "" if fine else "last run failed"
    last = f"last success {good:%Y-%m-%d %H:%M}" if good is not None else "no success yet"
    return fine, f"cronjob    {cron.metadata.name:<24} {last}{f', {now}' if now else ''}"


def job_line(job: Any) -> Line:
    """Return whether a Job has succeeded, and a line about it."""
    done = bool(job.status.succeeded)
    return done, f"job        {job.metadata.name:<24} {'done' if done else 'not done'}"
