"""The design hash: every ingredient moves it, nothing else does, and a build of another one is
refused with the ingredient's name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.builddir.artifacts import sha256, write_build
from fpga_gen.contract import address, fields, isa, numerics, slot_layout
from fpga_gen.contract import weight_stream as weights
from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.fields import Field, Layout, Record
from fpga_gen.contract.isa import ConvInstruction, LoadInstruction, WalkInstruction
from fpga_gen.contract.parameter_record import ParameterRecord
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import (
    AxisEntry,
    BlockRecord,
    ColumnEntry,
    SourceRecord,
    TapRecord,
)
from fpga_gen.errors import BuildDirError
from fpga_gen.hardware.common import design_hash
from fpga_gen.identity import Identity, check_identity, identify, open_build, seal
from fpga_gen_host import regions as layout
from fpga_gen_host import registers
from tests.engines import SMALL

VERILOG = {
    "fpga_gen_top.v": "module fpga_gen_top (a);\n  assign b = 1'h0;\nendmodule\n",
    design_hash.FILE: design_hash.verilog(0),
    "leaves.vlt": "`verilator_config\n",  # the simulator's alone
}
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def fresh_run_bits() -> Iterator[None]:
    """A slot layout that a test changes must not stay in the cache, nor an old one hide it."""
    own = slot_layout.run_bits  # a test may still have another in its place when this ends
    own.cache_clear()
    yield
    own.cache_clear()


def changed(before: Identity, after: Identity) -> set[str]:
    """Names of the ingredients that differ."""
    return {n for n, digest in before.to_dict().items() if after.to_dict()[n] != digest}


# --- one change in each ingredient ------------------------------------------------------------


def wider_header(patch: Patch) -> None:
    """One bit more in a field of CONV: what silently kept the old hash once."""
    wider, extra = [], 0
    for f in ConvInstruction.layout():
        last = f.name == "tile_groups"  # of its word
        wider.append(replace(f, bits=f.bits + last))
        extra += last
    assert extra == 1
    with_layout(patch, ConvInstruction, wider)


def with_layout(patch: Patch, kind: type[Record], made: list[Field]) -> None:
    """Another table of bits for a record."""
    layout_of = fields.layout_of
    patch.setattr(fields, "layout_of", lambda r: Layout(tuple(made)) if r is kind else layout_of(r))


def signed_field(patch: Patch) -> None:
    *others, last = LoadInstruction.layout()
    with_layout(patch, LoadInstruction, [*others, replace(last, signed=True)])


def record(kind: type[Record]) -> Callable[[Patch], None]:
    """The first two fields of a record change places."""

    def change(patch: Patch) -> None:
        first, second, *rest = kind.layout()
        moved = [replace(second, lsb=0), replace(first, lsb=second.bits)]
        with_layout(patch, kind, [*moved, *rest])

    return change


def attribute(kind: type, name: str, value: object) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(kind, name, value)


def epilogue_offset(patch: Patch) -> None:
    apply = Epilogue.apply
    patch.setattr(Epilogue, "apply", lambda self, values: apply(self, values + 1))


def constant(module: object, name: str, step: int = 1) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(module, name, getattr(module, name) + step)


def opcodes(patch: Patch) -> None:
    class VectorOp(IntEnum):
        LINEAR = 1
        MUL = 0

    patch.setattr(isa, "VectorOp", VectorOp)


def table_order(patch: Patch) -> None:
    """Taps before blocks: code, not a table."""
    encode = isa.Instruction.encode

    def turned(self: isa.Instruction) -> list[int]:
        if not isinstance(self, WalkInstruction):
            return encode(self)
        without = encode(replace(self, blocks=(), taps=()))
        whole = encode(self)[len(without) :]
        return [*without, *whole[len(self.blocks) :], *whole[: len(self.blocks)]]

    patch.setattr(isa.Instruction, "encode", turned)


def register_field(register: str, /, **changes: object) -> Callable[[Patch], None]:
    """Another first field of a register."""

    def change(patch: Patch) -> None:
        table = tuple(
            replace(r, fields=(replace(r.fields[0], **changes), *r.fields[1:]))
            if r.name == register
            else r
            for r in registers.REGISTERS
        )
        patch.setattr(registers, "REGISTERS", table)

    return change


def register_offset(patch: Patch) -> None:
    moved = tuple(
        replace(r, offset=0x9C) if r.name == "LAYER_START" else r for r in registers.REGISTERS
    )
    patch.setattr(registers, "REGISTERS", moved)


def error_codes(patch: Patch) -> None:
    codes = {c.name: int(c) for c in registers.ErrorCode}
    patch.setattr(registers, "ErrorCode", IntEnum("ErrorCode", {**codes, "WATCHDOG": 8}))


def slot_bits(patch: Patch) -> None:
    """Two neighbouring bits of one slot change places."""
    run_bits = slot_layout.run_bits

    def moved(params: EngineParams, subgroups: int, half: slot_layout.Half) -> np.ndarray:
        out = run_bits(params, subgroups, half).copy()
        if (subgroups, half) == (1, slot_layout.Half.HIGH):
            out[0, -1, [0, 1]] = out[0, -1, [1, 0]]
        return out

    for module in (slot_layout, weights):
        patch.setattr(module, "run_bits", moved)


def last_group(patch: Patch) -> None:
    """The last group is as long as the others."""
    patch.setattr(weights, "group_subgroups", lambda f, p, group: p.subgroups // f.array_mode)


def parameter_bits(patch: Patch) -> None:
    """The top bit of one parameter record lies elsewhere."""
    pack = weights.pack_params

    def packed(*arguments: object) -> np.ndarray:
        out = pack(*arguments)
        top = out[..., 1] >> 21 & 1
        out[..., 1] ^= (top << 21) | (top << 22)
        return out

    patch.setattr(weights, "pack_params", packed)


def sp2_code(patch: Patch) -> None:
    name = SMALL.sp2_code
    code = replace(numerics.SP2_CODES[name], second=(0, 1, 4, 2))
    patch.setitem(numerics.SP2_CODES, name, code)


def rounding(patch: Patch) -> None:
    requantise = numerics.requantise
    patch.setattr(numerics, "requantise", lambda acc, *rest: requantise(acc + 1, *rest))


def low_bytes(patch: Patch) -> None:
    """Another offset between the byte planes of a 16-bit map."""
    split = layout._split_bytes

    def moved(item: layout.MapLayout, stored: np.ndarray) -> list[tuple[int, np.ndarray]]:
        return [(at, values ^ (at != 0)) for at, values in split(item, stored)]

    patch.setattr(layout, "_split_bytes", moved)


def read_back(patch: Patch) -> None:
    """Results are read with two channels exchanged."""
    read = layout.words_to_map
    patch.setattr(layout, "words_to_map", lambda *a: read(*a)[[1, 0, *range(2, a[0].channels)]])


def ports(patch: Patch) -> None:
    stripe = layout.stripe
    patch.setattr(layout, "stripe", lambda words, count: stripe(words[:, ::-1], count))


CHANGES: dict[str, tuple[str, Callable[[Patch], None]]] = {
    "a wider header": ("instructions", wider_header),
    "a signed field": ("instructions", signed_field),
    "block": ("instructions", record(BlockRecord)),
    "tap": ("instructions", record(TapRecord)),
    "source": ("instructions", record(SourceRecord)),
    "axis entry": ("instructions", record(AxisEntry)),
    "column entry": ("instructions", record(ColumnEntry)),
    "entries a word": ("instructions", attribute(AxisEntry, "PER_WORD", 1)),
    "when it starts": ("instructions", attribute(LoadInstruction, "ALONE", False)),
    "epilogue": ("instructions", epilogue_offset),
    "row bits": ("instructions", constant(address, "ROW_BITS", -1)),
    "most sources": ("instructions", constant(isa, "MAX_SOURCES")),
    "codes": ("instructions", opcodes),
    "order of the tables": ("instructions", table_order),
    "a wider register": ("registers", register_field("PROGRAM_WORDS", bits=25)),
    "a shifted field": ("registers", register_field("READ_WINDOW0_BASE_LO", lsb=3)),
    "another access": ("registers", register_field("WATCHDOG", access="ro")),
    "another reset value": ("registers", register_field("WATCHDOG", reset=1)),
    "a field's name": ("registers", register_field("CONTROL", name="go")),
    "an offset": ("registers", register_offset),
    "an error code": ("registers", error_codes),
    "windows": ("registers", constant(registers, "WINDOWS")),
    "interface version": ("registers", constant(registers, "INTERFACE_VERSION")),
    "bits of a slot": ("streams", slot_bits),
    "length of the last group": ("streams", last_group),
    "parameter record": ("streams", parameter_bits),
    "order of the parameters": ("streams", record(ParameterRecord)),
    "granules": ("streams", constant(weights, "GRANULE", 32)),
    "multiplier bits": ("streams", constant(numerics, "MULT_BITS", -1)),
    "SP2 code": ("streams", sp2_code),
    "requantisation": ("streams", rounding),
    "low bytes": ("regions", low_bytes),
    "results": ("regions", read_back),
    "ports": ("regions", ports),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_moves_the_hash(name: str, monkeypatch: Patch):
    ingredient, change = CHANGES[name]
    before = identify(VERILOG, SMALL)
    slot_layout.run_bits.cache_clear()
    change(monkeypatch)
    after = identify(VERILOG, SMALL)
    assert changed(before, after) == {ingredient}
    assert before.design_hash != after.design_hash


def test_every_character_of_the_verilog_counts():
    before = identify(VERILOG, SMALL)
    text = VERILOG["fpga_gen_top.v"]
    seen = {before.design_hash}
    for at in range(0, len(text), 7):
        flipped = text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]
        after = identify({**VERILOG, "fpga_gen_top.v": flipped}, SMALL)
        assert changed(before, after) == {"verilog"}
        seen.add(after.design_hash)
    renamed = {("other.v" if n == "fpga_gen_top.v" else n): t for n, t in VERILOG.items()}
    seen.add(identify(renamed, SMALL).design_hash)
    assert len(seen) == 2 + len(range(0, len(text), 7))


def test_another_engine_has_other_streams():
    other = replace(SMALL, sp2_code="sp2-4")
    assert changed(identify(VERILOG, SMALL), identify(VERILOG, other)) == {"streams"}


def test_the_hash_is_not_an_ingredient_of_itself():
    sealed, identity = seal(VERILOG, SMALL)
    assert f"64'h{identity.design_hash:016x};" in sealed[design_hash.FILE]
    assert sealed["fpga_gen_top.v"] == VERILOG["fpga_gen_top.v"]
    assert identify(sealed, SMALL) == identity
    assert seal(sealed, SMALL) == (sealed, identity)


def test_what_only_the_simulator_reads_does_not_count():
    other = {**VERILOG, "leaves.vlt": "`verilator_config\nlint_off\n"}
    assert identify(other, SMALL) == identify(VERILOG, SMALL)


def test_texts_for_people_do_not_count(monkeypatch: Patch):
    before = identify(VERILOG, SMALL)
    register_field("ID", doc="another wording")(monkeypatch)
    assert identify(VERILOG, SMALL) == before


def test_two_processes_agree_and_need_no_amaranth():
    """Sets and dictionaries may have another order there."""
    code = """
import sys
from fpga_gen.hardware.common import design_hash
from tests.engines import SMALL
from fpga_gen.identity import identify
import fpga_gen.pipeline
print(identify({design_hash.FILE: design_hash.verilog(7)}, SMALL).to_dict())
sys.exit("amaranth" in sys.modules)
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "23456")
    }
    own = identify({design_hash.FILE: design_hash.verilog(0)}, SMALL)
    assert printed == {f"{own.to_dict()}\n"}


# --- build directories ------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A build directory of which nothing but its identity matters."""
    verilog, identity = seal(VERILOG, SMALL)
    facts = {
        "board": {"name": "zcu104"},
        "parameters": SMALL.to_dict(),
        "design_hash": f"{identity.design_hash:016x}",
        "identity": identity.to_dict(),
    }
    files = {f"rtl/{name}": text.encode() for name, text in verilog.items()}
    write_build(tmp_path / "out", {**files, "program.bin": bytes(16)}, facts)
    return tmp_path / "out"


def edit(folder: Path, **entries: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **entries}))


def put(folder: Path, name: str, text: str) -> None:
    """Another file, and the manifest lists it."""
    (folder / name).write_text(text)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit(folder, files={**files, name: {"sha256": sha256(text.encode()), "bytes": len(text)}})


def test_own_build_is_opened(folder: Path):
    build = open_build(folder)
    assert check_identity(build) == identify(VERILOG, SMALL)


@pytest.mark.parametrize("name", CHANGES)
def test_build_of_another_compiler_is_refused(folder: Path, name: str, monkeypatch: Patch):
    """The message names the hash, the ingredient and its digest on both sides, and the remedy."""
    ingredient, change = CHANGES[name]
    before = identify(VERILOG, SMALL)
    slot_layout.run_bits.cache_clear()
    change(monkeypatch)
    after = identify(VERILOG, replace(SMALL))  # nothing that SMALL remembers
    with pytest.raises(BuildDirError) as caught:
        open_build(folder)
    old, new = (i.to_dict()[ingredient][:16] for i in (before, after))
    assert f"hash {before.design_hash:016x} does not fit this fpga-gen" in str(caught.value)
    assert f"({ingredient} {old}, here {new}): build again" in str(caught.value)


def test_verilog_that_is_not_that_of_the_identity(folder: Path):
    put(folder, "rtl/fpga_gen_top.v", VERILOG["fpga_gen_top.v"].replace("1'h0", "1'h1"))
    with pytest.raises(BuildDirError, match=r"\(verilog [0-9a-f]{16}, here [0-9a-f]{16}\)"):
        open_build(folder)


def test_verilog_with_another_hash(folder: Path):
    put(folder, f"rtl/{design_hash.FILE}", design_hash.verilog(5))
    with pytest.raises(BuildDirError, match=r"design_hash\.v: does not hold the design hash"):
        open_build(folder)


def test_hash_that_is_not_that_of_the_ingredients(folder: Path):
    edit(folder, design_hash="0123456789abcdef")
    with pytest.raises(BuildDirError, match="names design hash 0123456789abcdef, its ingredients"):
        open_build(folder)


@pytest.mark.parametrize(
    "entries",
    [
        {"identity": None},
        {"identity": {"verilog": "0"}},
        {"identity": []},
        {"identity": dict.fromkeys(("verilog", "instructions", "registers", "streams", "regions"))},
        {"design_hash": "x"},
        {"design_hash": None},
        {"parameters": {"pixels": 2}},
        {"parameters": {**SMALL.to_dict(), "pixels": 0}},
    ],
)
def test_incomplete_manifest(folder: Path, entries: dict):
    edit(folder, **entries)
    with pytest.raises(BuildDirError, match=r"incomplete build .*: build again"):
        open_build(folder)
