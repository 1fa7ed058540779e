"""Which source files a stage runs through, for the code dependencies in ``dvc.yaml``.

Found by following imports, also lazy ones and names of modules in strings, from the stage's module. What every stage
shares (parameters, paths, the runner) is left out: it does not shape outputs, and DVC compares the parameters' values.

``python -m hummingbird.ops.codedeps`` rewrites the code dependencies of every stage in ``dvc.yaml``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

CODE = ("src/", "evaluation/")  # where code dependencies lie
PACKAGES = {"hummingbird": "src/hummingbird", "evaluation": "evaluation"}
_OURS = tuple(f"{package}." for package in PACKAGES)
RESOURCES = {".html", ".css", ".yaml"}  # of a package, used by its code
SHARED = ("__init__", "errors", "explain", "layout", "params", "runlog", "telemetry")


def code_of(stage: str, root: Path = Path()) -> list[str]:
    """Paths, relative to ``root``, of the source files that the module of ``stage`` imports, itself included, and the
    templates that lie beside them."""
    found: set[Path] = set()
    waiting = [_file(root, f"hummingbird.stages.{stage}")]
    while waiting:
        path = waiting.pop()
        if path is not None and path not in found and not _is_shared(root, path):
            found.add(path)
            waiting += [_file(root, name) for name in _imports(path)]
    found |= {beside for path in found for beside in path.parent.iterdir() if beside.suffix in RESOURCES}
    return sorted(path.relative_to(root).as_posix() for path in found)


def rewrite(text: str, root: Path = Path()) -> str:
    """``dvc.yaml`` with the code dependencies of each stage replaced by :func:`code_of`. A stage whose module does not
    exist keeps what it has; comments and everything else stay as they are."""
    lines: list[str] = []
    stage, in_deps = "", False
    files: list[str] = []
    stages = yaml.safe_load(text)["stages"]
    for line in text.splitlines():
        if in_deps and not line.startswith("      - "):
            lines += [f"      - {path}" for path in files]
            in_deps = False
        if line.startswith("  ") and line.strip().rstrip(":") in stages and not line.startswith("   "):
            stage = line.strip().rstrip(":")
            files = code_of(stage, root)
        if line == "    deps:":
            in_deps = True
        elif in_deps and files and line.split("- ")[-1].startswith(CODE):
            continue
        lines.append(line)
    return "\n".join(lines) + "\n"


def _is_shared(root: Path, path: Path) -> bool:
    return path.parent == root / PACKAGES["hummingbird"] and path.stem in SHARED


def _file(root: Path, module: str) -> Path | None:
    """The file of one of our modules; None for an empty package, for others' modules and for names in a module."""
    package, *rest = module.split(".")
    if package not in PACKAGES:
        return None
    base = root.joinpath(PACKAGES[package], *rest)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file() and path.stat().st_size:
            return path
    return None


@cache
def _imports(path: Path) -> tuple[str, ...]:
    return tuple(_named(ast.parse(path.read_text())))


def _named(node: ast.AST) -> Iterator[str]:
    """Names below ``node`` that may be modules: imported ones, and text that looks like one (lazy tables)."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(_OURS):
        yield node.value.split(":")[0]
    for child in ast.iter_child_nodes(node):
        yield from _named(child)


if __name__ == "__main__":
    Path("dvc.yaml").write_text(rewrite(Path("dvc.yaml").read_text()))
