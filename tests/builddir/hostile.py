"""Changes of a build directory whose hashes are made to fit again."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fpga_gen.builddir.artifacts import sha256
from fpga_gen.contract.params import EngineParams
from fpga_gen.identity import seal

STRANGE = (
    *(None, True, "", "x", "\x1b[2J", [], {}, 0, -1, 1, 3, 255, 1 << 31, 1 << 62, 1 << 200),
    *(0.5, -0.0, 1e300, [0], [[0]], {"a": 1}, [None], "../../x", "9" * 50),
)


def rehash(folder: Path, names: list[str]) -> None:
    """Enters the files as they are now in the manifest."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in names:
        data = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(data), "sha256": sha256(data)}
    path.write_text(json.dumps(manifest))


def reidentify(folder: Path, name: str) -> None:
    """Enters a changed or new file of rtl/, and makes identity and design hash fit as well."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    rtl = {file.name: file.read_text() for file in (folder / "rtl").iterdir()}
    verilog, identity = seal(rtl, EngineParams.from_dict(manifest["parameters"]))
    for file, text in verilog.items():
        (folder / "rtl" / file).write_text(text)
    manifest |= {
        "identity": identity.to_dict(),
        "design_hash": f"{identity.design_hash:016x}",
    }
    path.write_text(json.dumps(manifest))
    rehash(folder, sorted({name, *(f"rtl/{file}" for file in verilog)}))


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths of all values in a JSON value but itself."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(item, (*path, key))
    return found


def spoil(value: Any, rng: random.Random) -> None:
    """One change somewhere in a JSON value."""
    *above, key = rng.choice(places(value))
    for step in above:
        value = value[step]
    kind = rng.randrange(6)
    old = value[key]
    if kind == 0:
        del value[key]
    elif kind == 1 and isinstance(old, int):
        value[key] = old + rng.choice((-1, 1, 7, 1000, -(10**6), 10**9))
    elif kind == 2 and isinstance(old, list):
        value[key] = old * 2 if rng.random() < 0.5 else old[:-1]
    elif kind == 3 and isinstance(old, str):
        value[key] = old[::-1] + rng.choice(("", "x"))
    else:
        value[key] = rng.choice(STRANGE)


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def change_structure(path: Path, change: Callable[[Any], None]) -> None:
    """Changes structure.json of quantised.npz."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    data = json.loads(members["structure.json"])
    change(data)
    members["structure.json"] = json.dumps(data).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    path.write_bytes(stream.getvalue())


def flip_array(path: Path, rng: random.Random) -> None:
    """Changes a byte of one of the arrays of quantised.npz, the header included."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    name = rng.choice([n for n in members if n.endswith(".npy")])
    data = bytearray(members[name])
    data[rng.randrange(len(data))] = rng.randrange(256)
    members[name] = bytes(data)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as new:
        for member, content in members.items():
            new.writestr(member, content)
    path.write_bytes(stream.getvalue())
