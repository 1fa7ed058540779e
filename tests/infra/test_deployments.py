"""The deployments in prefect.yaml, put together as the workers of their pools would do it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from flows.repro import LAUNCHER, launcher
from tests.infra.test_kubernetes import check_pod, manifests, validate


def job_variables(project: Path, name: str) -> dict[str, Any]:
    deployments = yaml.safe_load((project / "prefect.yaml").read_text())["deployments"]
    [found] = [one for one in deployments if one["name"] == name]
    values: dict[str, Any] = found["work_pool"]["job_variables"]
    return values


@pytest.mark.parametrize(("resource", "gpus"), [("cpu", 0), ("gpu", 4)])
def test_slurm_is_asked_for_the_devices_of_the_stage(
    project: Path, monkeypatch: pytest.MonkeyPatch, resource: str, gpus: int
) -> None:
    monkeypatch.setenv(LAUNCHER, job_variables(project, "slurm")["env"][LAUNCHER])
    words = launcher("stage1", resource, gpus)
    assert words[0] == "srun" and not re.search("[{}]", " ".join(words))
    assert {"--job-name=stage1", f"--partition={resource}", f"--gres=gpu:{gpus}"} <= set(words)


@pytest.fixture
def pool(infra: Path) -> dict[str, Any]:
    """The template of the jobs that the Kubernetes worker makes."""
    template: dict[str, Any] = json.loads((infra / "kubernetes/overlays/jobs/pool.json").read_text())
    return template


def job(template: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The Kubernetes job that the worker makes of a run with these job variables."""
    worker = pytest.importorskip("prefect_kubernetes.worker", reason="pip install -c constraints.txt -e '.[infra]'")
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.utilities.templating import apply_values

    properties = template["variables"]["properties"]
    defaults = {name: one["default"] for name, one in properties.items() if "default" in one}
    filled: Any = apply_values(template["job_configuration"], defaults | values)
    made = worker.KubernetesWorkerJobConfiguration(**filled)
    deployment = DeploymentResponse(name="kubernetes", flow_id=uuid4())
    made.prepare_for_flow_run(FlowRun(flow_id=uuid4(), name="brave-hummingbird"), deployment)
    manifest: dict[str, Any] = made.job_manifest
    return manifest


def test_the_job_of_a_run_fits_the_schemas_and_the_namespace(project: Path, infra: Path, pool: dict[str, Any]) -> None:
    values = job_variables(project, "kubernetes") | {"limits": {"memory": "64Gi", "nvidia.com/gpu": 1}}
    made = job(pool, values)
    spec = made["spec"]["template"]["spec"]
    for name in ("parallelism", "completions"):
        spec.pop(name)  # Prefect wants them here, where Kubernetes ignores them
    validate([made])
    resources = manifests(infra)
    check_pod("job", spec)
    [container] = spec["containers"]
    assert container["args"][:2] == ["prefect", "flow-run"] and container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert not made["spec"]["backoffLimit"]  # Prefect knows why a run ended, Kubernetes does not
    claims = {one["metadata"]["name"] for one in resources if one["kind"] == "PersistentVolumeClaim"}
    assert spec["volumes"][0]["persistentVolumeClaim"]["claimName"] in claims
    [settings] = [one["data"] for one in resources if one["kind"] == "ConfigMap" and "S3_REGION" in one["data"]]
    references = [one["valueFrom"] for one in container["env"] if "valueFrom" in one]
    assert all(one["configMapKeyRef"]["key"] in settings for one in references if "configMapKeyRef" in one)
    assert not any(re.search("SECRET|PASSWORD", one["name"]) for one in container["env"] if "value" in one)


def test_the_job_of_a_run_reaches_what_the_worker_reaches(project: Path, infra: Path, pool: dict[str, Any]) -> None:
    resources = manifests(infra)
    labels = job(pool, job_variables(project, "kubernetes"))["spec"]["template"]["metadata"]["labels"]
    [worker] = [one for one in resources if one["kind"] == "Deployment" and one["metadata"]["name"] == "worker"]
    selectors = worker["spec"]["template"]["metadata"]["labels"].items() - {("app.kubernetes.io/name", "worker")}
    assert selectors and selectors <= labels.items()
    policies = {one["metadata"]["name"]: one["spec"] for one in resources if one["kind"] == "NetworkPolicy"}
    used = json.dumps([policies[name] for name in ("prefect", "mlflow", "servers", "outside")])
    assert all(key in used for key, _ in selectors)


def test_docker_is_given_variables_that_it_knows(project: Path) -> None:
    worker = pytest.importorskip("prefect_docker.worker", reason="pip install -c constraints.txt -e '.[infra]'")
    known = worker.DockerWorker.get_default_base_job_template()["variables"]["properties"]
    assert job_variables(project, "docker").keys() <= known.keys()


def test_no_deployment_hands_a_secret_to_the_prefect_server(project: Path) -> None:
    text = (project / "prefect.yaml").read_text()
    assert not [name for name in re.findall(r"{{ \$(\w+) }}", text) if re.search("SECRET|KEY|PASSWORD|AUTH", name)]
