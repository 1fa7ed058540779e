"""The manifests fit Kubernetes' schemas, alone and put together, and keep to what they promise."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.tools import run_tool

OVERLAYS = {"base": None, "overlays/jobs": None, "overlays/amd": "amd.com/gpu", "overlays/nvidia": "nvidia.com/gpu"}
OLDEST_KUSTOMIZE = 4  # those before do not know the fields in use


def manifests(infra: Path) -> list[dict[str, Any]]:
    files = sorted((infra / "kubernetes/base").glob("*.yaml"))
    return [one for file in files for one in yaml.safe_load_all(file.read_text()) if one["kind"] != "Kustomization"]


def pods(resources: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name -> pod specification of what runs."""
    kinds = ("Deployment", "StatefulSet")
    return {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in resources if one["kind"] in kinds}


def validate(resources: list[dict[str, Any]]) -> None:
    checker = pytest.importorskip("kubernetes_validate", reason="pip install -c constraints.txt -e '.[infra]'")
    for resource in resources:
        checker.validate(resource, checker.latest_version(), strict=True)


def build(infra: Path, overlay: str) -> list[dict[str, Any]]:
    version = run_tool("kubectl", "version", "--client").stdout
    found = re.search(r"Kustomize Version: v(\d+)", version)
    if not found or int(found.group(1)) < OLDEST_KUSTOMIZE:
        pytest.skip("kubectl is too old to put the manifests together")
    done = run_tool("kubectl", "kustomize", infra / "kubernetes" / overlay)
    assert done.returncode == 0 and not done.stderr, done.stderr  # a deprecated field is only a warning
    return list(yaml.safe_load_all(done.stdout))


def test_every_manifest_fits_its_schema(infra: Path) -> None:
    resources = manifests(infra)
    assert {"Deployment", "StatefulSet", "NetworkPolicy", "PersistentVolumeClaim"} <= {one["kind"] for one in resources}
    validate(resources)


def test_the_schemas_do_refuse(infra: Path) -> None:
    checker = pytest.importorskip("kubernetes_validate", reason="pip install -c constraints.txt -e '.[infra]'")
    [worker] = [one for one in manifests(infra) if one["kind"] == "Deployment" and one["metadata"]["name"] == "worker"]
    worker["spec"]["replicaz"] = 1
    with pytest.raises(checker.ValidationError):
        validate([worker])


@pytest.mark.parametrize(("overlay", "device"), OVERLAYS.items())
def test_each_overlay_fits_the_schemas_and_asks_for_its_device(infra: Path, overlay: str, device: str | None) -> None:
    resources = build(infra, overlay)
    validate(resources)
    specs = pods(resources)
    [worker] = specs["worker"]["containers"]
    limits = {name: amount for name, amount in worker["resources"]["limits"].items() if "gpu" in name}
    assert limits == ({device: 1} if device else {})
    assert {one["image"] for one in specs["mlflow"]["containers"]} == {"registry.example.com/hummingbird:cpu"}
    assert "runAsNonRoot" in specs["worker"]["securityContext"]  # the overlay adds to it, and replaces nothing


def check_pod(name: str, spec: dict[str, Any]) -> None:
    """What the "restricted" standard and the cluster's other users may expect of a pod."""
    assert spec["securityContext"]["runAsNonRoot"] and spec["automountServiceAccountToken"] is False, name
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
    assert spec["enableServiceLinks"] is False, name
    for container in (*spec["containers"], *spec.get("initContainers", [])):
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] and rights["capabilities"] == {"drop": ["ALL"]}, name
        assert rights["allowPrivilegeEscalation"] is False
        assert "memory" in container["resources"]["limits"], name


def test_no_pod_is_roots_or_writes_to_its_image_and_all_are_probed_and_bounded(infra: Path) -> None:
    for name, spec in pods(manifests(infra)).items():
        check_pod(name, spec)
        for container in spec["containers"]:
            assert "livenessProbe" in container, name


def test_secrets_are_named_and_not_contained(infra: Path) -> None:
    assert not [one for one in manifests(infra) if one["kind"] == "Secret"]
    keys = set()
    for spec in pods(manifests(infra)).values():
        for variable in (one for container in spec["containers"] for one in container.get("env", [])):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                keys.add(reference["key"])
            elif re.search("PASSWORD|SECRET|AUTH", variable["name"]):
                assert "$(" in variable["value"], variable
    assert keys == {"POSTGRES_PASSWORD", "PREFECT_AUTH", "S3_ACCESS_KEY", "S3_SECRET_KEY"}
    documented = (infra / "README.md").read_text()
    assert all(f"--from-literal={key}=" in documented for key in keys)


def test_what_is_not_allowed_is_forbidden_on_the_network(infra: Path) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in manifests(infra) if one["kind"] == "NetworkPolicy"}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    [rule] = policies["postgres"]["ingress"]
    assert rule["from"][0]["podSelector"]["matchExpressions"][0]["values"] == ["mlflow", "prefect"]
    everywhere = [one["ipBlock"] for one in policies["outside"]["egress"][0]["to"]]
    closed = {network for block in everywhere for network in block["except"]}
    assert {block["cidr"] for block in everywhere} == {"0.0.0.0/0", "::/0"}
    assert {"169.254.0.0/16", "100.64.0.0/10", "fc00::/7"} <= closed  # the clouds' metadata, nodes and pods


def test_mlflow_which_asks_for_no_password_is_reached_by_runs_only(infra: Path) -> None:
    allowed = [
        rule["from"]
        for one in manifests(infra)
        if one["kind"] == "NetworkPolicy" and "mlflow" in json.dumps(one["spec"]["podSelector"])
        for rule in one["spec"].get("ingress", [])
    ]
    assert allowed == [[{"podSelector": {"matchLabels": {"hummingbird/runs-flows": "true"}}}]]


def test_the_worker_of_jobs_has_rights_in_its_namespace_only(infra: Path) -> None:
    resources = build(infra, "overlays/jobs")
    assert not [one for one in resources if one["kind"].startswith("ClusterRole")]
    [role] = [one for one in resources if one["kind"] == "Role"]
    granted = {name for rule in role["rules"] for name in rule["resources"]}
    assert "secrets" not in granted and not any("*" in rule["verbs"] for rule in role["rules"])
    tokens = {name for name, spec in pods(resources).items() if spec["automountServiceAccountToken"]}
    assert tokens == {"worker"}
    claims = {one["metadata"]["name"]: one["spec"] for one in resources if one["kind"] == "PersistentVolumeClaim"}
    assert claims["workspace"]["accessModes"] == ["ReadWriteMany"]
    [worker] = pods(resources)["worker"]["containers"]
    [template] = [word for word in worker["args"] if word.endswith(".json")]
    assert (infra.parent / template).is_file()
