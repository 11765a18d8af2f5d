"""The rendered chart: restricted pods, exact flows, and only addresses and settings that the code really has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from consilium_consult.settings import ConsultSettings
from consilium_gateway.settings import GatewaySettings
from consilium_imaging.settings import ImagingSettings
from consilium_ingest.dimse.settings import DimseSettings
from consilium_ingest.routing.settings import RoutingSettings
from consilium_ingest.settings import IngestSettings
from consilium_ingest.storage.settings import StorageSettings
from consilium_live.settings import LiveSettings
from consilium_platform.http.app import create_app
from consilium_platform.platform import Platform
from consilium_platform.settings import PlatformSettings, RoomSettings

pytestmark = [pytest.mark.chart, pytest.mark.timeout(1200)]  # the first run builds Helm

SETTINGS: dict[str, tuple[type[RoomSettings], ...]] = {
    "gateway": (GatewaySettings,),
    "ingest": (IngestSettings, DimseSettings, StorageSettings, RoutingSettings),
    "imaging": (ImagingSettings,),
    "live": (LiveSettings,),
    "consult": (ConsultSettings,),
    "scrub": (StorageSettings,),
    "retain": (StorageSettings,),
    "reconcile": (StorageSettings,),
}
KEYS = {
    "gateway": {"users.json", "verify.json"},
    "ingest": {"receipts.json", "verify.json"},
    "imaging": {"services.json", "verify.json"},
    "live": {"services.json", "verify.json"},
    "consult": {"services.json", "verify.json"},
}
CARE = {"scrub", "retain", "reconcile"}
# Who opens connections to whom, by component and container port; the outside world is named by the peers of values.yaml.
FLOWS = {
    ("gateway", "ingest", "http"), ("gateway", "imaging", "http"), ("gateway", "live", "http"), ("gateway", "consult", "http"),
    ("live", "gateway", "internal"), ("consult", "gateway", "internal"), ("consult", "live", "http"),
    ("imaging", "consult", "http"),
}  # fmt: skip
RELAYED = {("coturn", "live", "media"), ("live", "coturn", "relay")}


def names_of(settings: type[RoomSettings]) -> set[str]:
    """Return the variables that a settings class reads."""
    return {f"{settings.model_config['env_prefix']}{name.upper()}" for name in settings.model_fields}


def container(pod: Any) -> Any:
    (found,) = pod["spec"]["containers"]
    return found


def test_every_pod_obeys_the_restricted_profile(release: Any) -> None:
    for component, pod in release.pods().items():
        spec, security = pod["spec"], container(pod)["securityContext"]
        assert spec["securityContext"]["runAsNonRoot"] is True, component
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"]["drop"] == ["ALL"]
        assert set(security["capabilities"].get("add", [])) <= {"NET_BIND_SERVICE"}
        assert all("hostPort" not in port for port in container(pod).get("ports", []))
        assert {kind for volume in spec["volumes"] for kind in volume if kind != "name"} <= {
            "secret", "emptyDir", "configMap", "ephemeral",
        }  # fmt: skip
        assert set(container(pod)["resources"]) == {"requests", "limits"}


def test_the_hot_tier_fits_its_volume(release: Any) -> None:
    pod = release.pods()["imaging"]
    given = {one["name"]: one.get("value") for one in container(pod)["env"]}
    (mount,) = [one for one in container(pod)["volumeMounts"] if one["mountPath"] == given["CONSILIUM_IMAGING_HOT_DIR"]]
    (volume,) = [one for one in pod["spec"]["volumes"] if one["name"] == mount["name"]]
    claim = volume.get("ephemeral", {}).get("volumeClaimTemplate", {}).get("spec", {}).get("resources", {})
    size = volume["emptyDir"]["sizeLimit"] if "emptyDir" in volume else claim["requests"]["storage"]
    assert size.endswith("Gi")
    assert int(size[:-2]) << 30 > ImagingSettings().hot_bytes


def test_every_pod_has_a_service_account_of_its_own(release: Any) -> None:
    accounts = {component: pod["spec"]["serviceAccountName"] for component, pod in release.pods().items()}
    assert len(set(accounts.values())) == len(accounts)
    for name in accounts.values():
        assert release.one("ServiceAccount", name)["automountServiceAccountToken"] is False


def test_host_port_is_the_only_way_to_leave_the_restricted_profile(render: Any) -> None:
    done = render("--set", "live.media.exposure=HostPort")
    objects = [found for found in yaml.safe_load_all(done.stdout) if found]
    (live,) = [o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "consilium-live"]
    ports = container(live["spec"]["template"])["ports"]
    assert {"name": "media", "containerPort": 30478, "hostPort": 30478, "protocol": "UDP"} in ports
    assert not [o for o in objects if o["metadata"]["name"] == "consilium-live-media"]


def test_kubernetes_does_not_inject_variables_that_settings_refuse(release: Any) -> None:
    """A Service ``consilium-gateway`` would otherwise become CONSILIUM_GATEWAY_PORT, an unknown setting."""
    assert [name for name, pod in release.pods().items() if pod["spec"].get("enableServiceLinks") is not False] == []


def test_every_environment_variable_is_a_setting_that_loads(release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for component in set(release.pods()) - {"coturn"}:
        known = names_of(PlatformSettings)
        for own in SETTINGS.get(component, ()):
            known |= names_of(own)
        values = {k: v for k, v in release.environment(component).items() if not k.endswith("_ADDRESS")}
        assert set(values) <= known, component
        with monkeypatch.context() as patch:
            for name, value in values.items():
                patch.setenv(name, value)
            platform = PlatformSettings.load()
            assert platform.database_url is not None
            for own in SETTINGS.get(component, ()):
                own.load()
                assert platform.blob_store == "s3"
            assert (platform.redis_url is not None) == (component in KEYS), "who takes part in events, and nobody else"


def test_a_setting_that_does_not_exist_is_refused_by_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_LIVE_MAX_VIEWERZ", "1")
    with pytest.raises(Exception, match="MAX_VIEWERZ"):
        LiveSettings.load()


def test_each_service_reads_only_the_key_files_it_needs(release: Any) -> None:
    for component, wanted in KEYS.items():
        pod = release.pods()[component]
        (keys,) = [volume["secret"] for volume in pod["spec"]["volumes"] if volume["name"] == "keys"]
        assert {item["key"] for item in keys["items"]} == wanted
        named = {
            value.rsplit("/", 1)[1] for name, value in release.environment(component).items() if name.endswith("_FILE")
        }
        assert named == wanted
    assert all(volume["name"] == "tmp" for volume in release.pods()["migrate"]["spec"]["volumes"])


def test_no_secret_is_a_value(release: Any) -> None:
    assert release.of("Secret") == []
    entries = [entry for pod in release.pods().values() for entry in container(pod)["env"]]
    secret = [e for e in entries if re.search(r"SECRET|PASSWORD|DATABASE_URL|REDIS_URL|ACCESS_KEY", e["name"])]
    assert secret
    assert [entry["name"] for entry in secret if "secretKeyRef" not in entry.get("valueFrom", {})] == []


async def test_probes_ask_addresses_that_every_service_serves(release: Any, platform: Platform) -> None:
    served = {getattr(route, "path", "") for route in create_app("any", platform).routes}
    for component in KEYS:
        pod = release.pods()[component]
        names = {port["name"] for port in container(pod)["ports"]}
        for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            asked = container(pod)[probe]["httpGet"]
            assert asked == {"path": path, "port": "http"}
            assert path in served
            assert "http" in names
        assert pod["metadata"]["annotations"]["prometheus.io/path"] in served
        assert container(pod)["args"][:2] == ["serve", component]


def test_every_service_selects_exactly_one_workload_and_its_ports(release: Any) -> None:
    for service in release.of("Service"):
        if service["metadata"]["name"] == "consilium-nowhere":
            continue
        (component,) = release.selected(service["spec"]["selector"])
        ports = {(p["name"], p["protocol"]) for p in container(release.pods()[component])["ports"]}
        for port in service["spec"]["ports"]:
            assert (port["targetPort"], port["protocol"]) in ports, service["metadata"]["name"]


def test_services_are_called_by_names_and_ports_that_exist(release: Any) -> None:
    for component in KEYS:
        urls = json.loads(release.environment(component).get("CONSILIUM_PLATFORM_SERVICES", "{}"))
        for name, url in urls.items():
            host, port = url.removeprefix("http://").split(":")
            target = release.one("Service", host)
            (entry,) = [p for p in target["spec"]["ports"] if str(p["port"]) == port]
            assert release.selected(target["spec"]["selector"]) == [name]
            assert (component, name, entry["targetPort"]) in FLOWS
    called = {(c, n) for c, n, _ in FLOWS}
    wired = {
        (component, name)
        for component in KEYS
        for name in json.loads(release.environment(component).get("CONSILIUM_PLATFORM_SERVICES", "{}"))
    }
    assert wired == called


def own_flows(release: Any, direction: str) -> set[tuple[str, str, str]]:
    """Return (from, to, port name) of every rule between the release's own pods."""
    found: set[tuple[str, str, str]] = set()
    for policy in release.of("NetworkPolicy"):
        rules = policy["spec"].get(direction, [])
        for component in release.selected(policy["spec"]["podSelector"]["matchLabels"]) if rules else []:
            for rule in rules:
                for peer in rule["from" if direction == "ingress" else "to"]:
                    labels = peer.get("podSelector", {}).get("matchLabels", {})
                    for other in release.selected(labels) if "app.kubernetes.io/component" in labels else []:
                        for port in rule["ports"]:
                            name = "relay" if "endPort" in port else port["port"]
                            found.add((other, component, name) if direction == "ingress" else (component, other, name))
    return found


def test_policies_let_exactly_the_needed_flows_through_on_both_sides(release: Any) -> None:
    wanted = FLOWS | (RELAYED if "coturn" in release.pods() else set())
    assert own_flows(release, "ingress") == wanted
    assert own_flows(release, "egress") == wanted


def test_named_ports_of_policies_exist_on_the_pods_they_lead_to(release: Any) -> None:
    for _source, target, port in own_flows(release, "ingress") | own_flows(release, "egress"):
        if port != "relay":
            assert port in {p["name"] for p in container(release.pods()[target])["ports"]}, (target, port)


def test_every_pod_is_denied_by_default_in_and_out(release: Any) -> None:
    deny = release.one("NetworkPolicy", "consilium-default-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    assert set(release.selected(deny["podSelector"]["matchLabels"])) == set(release.pods())
    for policy in release.of("NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        for rule in [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]:
            assert rule["ports"]
            assert rule.get("from") or rule.get("to")
            assert all(peer for peer in (rule.get("from") or rule.get("to")))


def test_only_the_door_is_reached_from_outside_and_only_for_its_public_port(usual: Any) -> None:
    outside = {"kubernetes.io/metadata.name": "ingress-nginx"}
    reached = [
        (policy["metadata"]["name"], port["port"])
        for policy in usual.of("NetworkPolicy")
        for rule in policy["spec"].get("ingress", [])
        for peer in rule["from"]
        if peer.get("namespaceSelector", {}).get("matchLabels") == outside
        for port in rule["ports"]
    ]
    assert reached == [("consilium-gateway", "http")]
    (ingress,) = usual.of("Ingress")
    assert ingress["spec"]["tls"][0]["hosts"] == [ingress["spec"]["rules"][0]["host"]]
    paths = {path["path"]: path["backend"]["service"] for path in ingress["spec"]["rules"][0]["http"]["paths"]}
    assert paths.pop("/") == {"name": "consilium-gateway", "port": {"name": "http"}}
    assert set(paths) == {"/metrics", "/readyz"}
    for backend in paths.values():
        assert "selector" not in usual.one("Service", backend["name"])["spec"], (
            "what is for the cluster alone leads nowhere"
        )


def test_what_the_gateway_needs_on_a_cluster_is_set(usual: Any, repo: Path) -> None:
    env = usual.environment("gateway")
    assert env["CONSILIUM_GATEWAY_INTERNAL_PORT"] == "8081"
    assert env["CONSILIUM_GATEWAY_TRUSTED_PROXY_HOPS"] == "1"
    image = (repo / "infra" / "Containerfile").read_text()
    (document,) = re.findall(r"CONSILIUM_GATEWAY_OPENAPI_FILE=(\S+)", image)
    assert f"/tmp/openapi.json {document}" in image


def test_the_chart_asks_for_the_kubernetes_that_its_fields_need(render: Any, repo: Path) -> None:
    chart = yaml.safe_load((repo / "charts/consilium/Chart.yaml").read_text())
    assert chart["kubeVersion"] == ">=1.30.0-0"
    assert "Kubernetes 1.30" in (repo / "docs/runbooks/install.md").read_text()
    old = render("--kube-version", "1.29.0")
    assert old.returncode != 0
    assert "1.30.0" in old.stderr


def test_budgets_and_scalers_name_workloads_that_exist(release: Any) -> None:
    budgets = {release.selected(b["spec"]["selector"]["matchLabels"])[0] for b in release.of("PodDisruptionBudget")}
    assert set(KEYS) <= budgets
    for scaler in release.of("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        deployment = release.one(target["kind"], target["name"])
        assert "replicas" not in deployment["spec"]
        assert scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]


def test_the_rooms_pod_is_replaced_and_never_doubled(usual: Any) -> None:
    live = usual.one("Deployment", "consilium-live")["spec"]
    assert (live["replicas"], live["strategy"]) == (1, {"type": "Recreate"})
    assert not [s for s in usual.of("HorizontalPodAutoscaler") if s["spec"]["scaleTargetRef"]["name"].endswith("live")]
    assert usual.one("PodDisruptionBudget", "consilium-live")["spec"]["maxUnavailable"] == 0


def test_media_has_one_port_number_from_candidate_to_socket(release: Any) -> None:
    env = release.environment("live")
    (port,) = release.one("Service", "consilium-live-media")["spec"]["ports"]
    settings = {env["CONSILIUM_LIVE_UDP_PORT"], str(port["port"]), str(port.get("nodePort", port["port"]))}
    assert len(settings) == 1
    assert json.loads(env["CONSILIUM_LIVE_UDP_ADVERTISED"])
    assert env["CONSILIUM_LIVE_UDP_HOST"] == "0.0.0.0"


def test_the_database_is_migrated_before_any_service_of_the_new_release_starts(release: Any) -> None:
    (job,) = release.of("Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert container(job["spec"]["template"])["args"] == ["migrate"]
    helpers = [o for o in release.objects if o["metadata"].get("annotations", {}).get("helm.sh/hook-weight") == "-5"]
    assert {o["kind"] for o in helpers} == {"NetworkPolicy", "ServiceAccount"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gatway.replicas", "2"),
        ("gateway.replica", "2"),
        ("image.pullPolicy", "Sometimes"),
        ("gateway.env.CONSILIUM_LIVE_UDP_PORT", "x"),
        ("live.media.port", "8080"),
        ("live.media.exposure", "LoadBalancer"),
        ("network.database.port", "70000"),
        ("imaging.resources.limits.memory", "lots"),
        ("secrets.keys", ""),
        ("coturn.enabled", "true"),  # and no live.turnUrls: nobody would be told of it
    ],
)
def test_the_schema_refuses_what_would_not_work(render: Any, key: str, value: str) -> None:
    done = render("--set", f"{key}={value}")
    assert done.returncode != 0
    assert "schema" in done.stderr


def test_the_schema_knows_every_key_and_stays_small(repo: Path) -> None:
    schema = json.loads((repo / "charts/consilium/values.schema.json").read_text())
    values = yaml.safe_load((repo / "charts/consilium/values.yaml").read_text())

    def keys(value: Any) -> int:
        return sum(1 + keys(inner) for inner in value.values()) if isinstance(value, dict) else 0

    def closed(node: Any) -> bool:
        if isinstance(node, dict):
            mine = node.get("type") != "object" or "additionalProperties" in node or "description" in node
            return mine and all(closed(inner) for inner in node.values())
        return all(closed(inner) for inner in node) if isinstance(node, list) else True

    assert set(values) | {"global"} == set(schema["properties"])
    assert keys(values) < 200
    assert closed(schema)


def test_each_workloads_folder_has_the_same_files(repo: Path) -> None:
    templates = repo / "charts/consilium/templates"
    common = {"deployment.yaml", "service.yaml", "networkpolicy.yaml", "pdb.yaml", "serviceaccount.yaml"}
    for component in [*KEYS, "coturn"]:
        assert common <= {path.name for path in (templates / component).iterdir()}, component
    assert {path.parent.name for path in templates.glob("*/hpa.yaml")} == set(KEYS) - {"live"}
    for component in CARE:
        files = {path.name for path in (templates / component).iterdir()}
        assert files == {"cronjob.yaml", "networkpolicy.yaml", "serviceaccount.yaml"}, component


def test_the_charts_version_is_the_projects(repo: Path) -> None:
    chart = yaml.safe_load((repo / "charts/consilium/Chart.yaml").read_text())
    assert f'version = "{chart["appVersion"]}"' in (repo / "pyproject.toml").read_text()
