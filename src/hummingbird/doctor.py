"""What `hummingbird doctor` looks at: everything on this machine that a run needs, and whether it is there."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from flows.pipeline import prepare_prefect
from hummingbird import telemetry
from hummingbird.errors import UserError
from hummingbird.models.checkpoints import verify_folder
from hummingbird.ops import outbox, server
from hummingbird.ops.services.control import report
from hummingbird.ops.services.site import Site
from hummingbird.params import load_params

PACKAGES = ("torch", "diffusers", "transformers", "dvc", "mlflow", "prefect", "great-expectations", "polars", "av")
MEMORY_GB, DISK_GB = 6, 5  # of the default run: its peak, and its outputs with the DVC cache


@dataclass(frozen=True)
class Finding:
    """One line of the table; ``ok`` False is a failure, None is worth knowing and no failure."""

    name: str
    ok: bool | None
    detail: str


def examine(root: Path) -> list[Finding]:
    """Make every check of the project in ``root``. A check that fails never keeps the others from being made."""
    checks: dict[str, Callable[[Path], Finding]] = {
        "python": check_python,
        "packages": check_packages,
        "torch": check_torch,
        "memory": check_memory,
        "disk": check_disk,
        "parameters": check_parameters,
        "DVC": check_dvc,
        "MLflow": check_mlflow,
        "Prefect": check_prefect,
        "services": check_services,
        "models": check_models,
        "telemetry": check_telemetry,
    }
    findings = []
    for name, check in checks.items():
        try:
            findings.append(check(root))
        except UserError as error:
            findings.append(Finding(name, False, str(error)))
        except (OSError, ImportError) as error:  # a broken installation is what this command is for
            findings.append(Finding(name, False, f"{type(error).__name__}: {error}"))
    return findings


def show(findings: list[Finding]) -> None:
    """Print the table, and what it comes to."""
    table = Table(title="hummingbird doctor", title_justify="left")
    for column in ("check", "", "what was found"):
        table.add_column(column)
    marks = {True: "[green]ok[/]", None: "[yellow]note[/]", False: "[red]FAILED[/]"}
    for finding in findings:
        table.add_row(finding.name, marks[finding.ok], finding.detail.replace("[", r"\["))
    failed = sum(finding.ok is False for finding in findings)
    console = Console()
    console.print(table)
    console.print(f"{failed} of {len(findings)} checks failed" if failed else "Ready to run.")


def check_python(root: Path) -> Finding:
    return Finding("python", sys.version_info >= (3, 11), f"{sys.version.split()[0]} in {sys.prefix}")


def check_packages(root: Path) -> Finding:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("packages", False, f"missing: {', '.join(missing)}; next: make setup")
    return Finding("packages", True, ", ".join(found))


def check_torch(root: Path) -> Finding:
    import torch

    build = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
    if not (torch.version.hip or torch.version.cuda):
        build = "CPU"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    detail = f"{build} build, device {device}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"
    idle = build != "CPU" and device == "CPU"
    return Finding("torch", None if idle else True, detail + ("; no GPU is visible to it" if idle else ""))


def check_memory(root: Path) -> Finding:
    memory = psutil.virtual_memory()
    detail = (
        f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free; the default run takes up to {MEMORY_GB}"
    )
    return Finding("memory", True if memory.available >= MEMORY_GB * 1e9 else None, detail)


def check_disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free / 1e9
    writable = os.access(root, os.W_OK)
    detail = (
        f"{free:.1f} GB free, the default run takes up to {DISK_GB}" if writable else f"{root.resolve()} is read-only"
    )
    return Finding("disk", free >= DISK_GB and writable, detail)


def check_parameters(root: Path) -> Finding:
    params = load_params(root / "params.yaml")
    return Finding("parameters", True, f"params.yaml is valid, seed {params.seed}")


def check_dvc(root: Path) -> Finding:
    """The repository opens, the program is on PATH (stages are run by name), and the remote, if any, answers."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if shutil.which("dvc") is None:
        return Finding("DVC", None, f"dvc is not on PATH; next: make run, or add {sys.prefix}/bin to PATH")
    try:
        repo = Repo(str(root))
        remote = repo.config["core"].get("remote")
        if not remote:
            return Finding("DVC", True, f"{len(repo.index.stages)} stages, no remote (nothing is shared)")
        odb = repo.cloud.get_remote_odb(remote)
        odb.fs.exists(odb.path)  # raises if the storage cannot be reached
    except (DvcException, OSError) as error:
        return Finding("DVC", False, f"{error}")
    return Finding("DVC", True, f"{len(repo.index.stages)} stages, remote {remote} at {odb.path}")


def check_mlflow(root: Path) -> Finding:
    uri = server.tracking_uri(root)
    server.check_server(uri)
    waiting = len(outbox.folders(root))
    return Finding(
        "MLflow", True, server.shown(uri) + (f"; {waiting} runs: hummingbird track status" if waiting else "")
    )


def check_prefect(root: Path) -> Finding:
    prepare_prefect()
    url = os.environ.get("PREFECT_API_URL")
    return Finding("Prefect", True, url or "no server set (PREFECT_API_URL): each flow run starts one for itself")


def check_services(root: Path) -> Finding:
    """The servers that `hummingbird services` started here. None is needed, but one that was started should work."""
    started = [one for one in report(Site(root)) if one.state != "stopped"]
    if not started:
        return Finding("services", True, "none started here (make services); a run needs none")
    broken = [one.name for one in started if one.state != "working"]
    detail = ", ".join(f"{one.name} {one.state}" for one in started)
    return Finding("services", None if broken else True, detail + ("; next: make services" if broken else ""))


def check_models(root: Path) -> Finding:
    folder = root / "assets/miniature"
    sizes = verify_folder(folder)
    return Finding("models", True, f"{len(sizes)} files in {folder} as shipped, {sum(sizes.values()) / 1e6:.1f} MB")


def check_telemetry(root: Path) -> Finding:
    on = telemetry.left_on()
    return Finding("telemetry", None if on else True, f"left on by {', '.join(on)}" if on else "off in every tool")
