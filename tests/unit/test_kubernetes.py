"""The manifests: Kubernetes takes them, and they say of workers what is so."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from status_tracker.keys import GROUP, Keys
from status_tracker.settings import load_settings

FOLDER = Path(__file__).parents[2] / "config/kubernetes"
SETTINGS = load_settings(environment={})


def documents(name: str) -> dict[str, Any]:
    """Return what a file describes, by its kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((FOLDER / name).read_text())}


WORKER = documents("worker.yaml")
POD = WORKER["Deployment"]["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]


@pytest.mark.parametrize("version", ["1.27", "1.37"])
@pytest.mark.parametrize("kind", WORKER)
def test_kubernetes_takes_them(kind: str, version: str) -> None:
    """By the schemas of an older release and a new one, with no field that they do not know."""
    kubernetes_validate.validate(WORKER[kind], version, strict=True)


def test_a_worker_is_not_root_and_writes_nothing() -> None:
    """What a pod has to say to be let into a namespace that enforces `restricted`."""
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] > 0
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_probes_resources_and_budget() -> None:
    """It is asked on the port that it listens on, has its share of a node, and leaves in turn."""
    [port] = CONTAINER["ports"]
    variables = {each["name"]: each.get("value") for each in CONTAINER["env"]}
    assert variables["STATUS_METRICS_PORT"] == str(port["containerPort"])
    assert CONTAINER["livenessProbe"]["httpGet"] == {"path": "/livez", "port": port["name"]}
    assert CONTAINER["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
    assert CONTAINER["resources"].keys() == {"requests", "limits"}
    selector = WORKER["Deployment"]["spec"]["selector"]
    assert WORKER["PodDisruptionBudget"]["spec"] == {"maxUnavailable": 1, "selector": selector}
    assert WORKER["Service"]["spec"]["selector"] == selector["matchLabels"]


@pytest.mark.parametrize("name", ["keda-lag.yaml", "keda-streams.yaml"])
def test_both_ways_scale_the_workers(name: str) -> None:
    """They have one name, so whoever applies both has one; workers beyond the partitions idle."""
    scaled = documents(name)["ScaledObject"]
    assert scaled["metadata"]["name"] == "status-tracker"
    assert scaled["spec"]["scaleTargetRef"] == {"name": WORKER["Deployment"]["metadata"]["name"]}
    assert scaled["spec"]["minReplicaCount"] == WORKER["Deployment"]["spec"]["replicas"]
    assert scaled["spec"]["maxReplicaCount"] == SETTINGS.partitions


def test_the_lag_is_where_workers_say_it() -> None:
    """By the service, on the port of the probes, in the field of that name."""
    [trigger] = documents("keda-lag.yaml")["ScaledObject"]["spec"]["triggers"]
    service = WORKER["Service"]
    [port] = service["spec"]["ports"]
    host = f"{service['metadata']['name']}.default.svc:{port['port']}"
    assert trigger["metadata"]["url"] == f"http://{host}/lag"
    assert trigger["metadata"]["valueLocation"] == "lag"


def test_each_stream_has_its_trigger() -> None:
    """The names of streams and group are those of the default deployment."""
    file = documents("keda-streams.yaml")
    found = [each["metadata"] for each in file["ScaledObject"]["spec"]["triggers"]]
    keys = Keys(SETTINGS.prefix, "single")
    streams = [keys.events(number) for number in range(SETTINGS.partitions)]
    assert [each["stream"] for each in found] == streams
    assert {each["consumerGroup"] for each in found} == {GROUP}
    assert file["TriggerAuthentication"]["metadata"]["name"] == "status-tracker"
