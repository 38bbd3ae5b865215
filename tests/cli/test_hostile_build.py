"""A build directory from elsewhere, its hashes right: nothing in it runs, hangs or crashes us."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.builddir.artifacts import load_build
from fpga_gen.errors import BuildDirError, FpgaGenError, QuantError
from fpga_gen.generated import _record, check_project, check_verilog
from fpga_gen.images import write_png
from fpga_gen.phantom import draw_phantom
from fpga_gen.quant.interpreter import run_integer
from fpga_gen.quant.serialise import VERSION
from fpga_gen.report.render import enter_figures, read_report
from fpga_gen_host.regions import pack_input, unpack_output
from tests.builddir.hostile import (
    change_json,
    change_structure,
    flip_array,
    rehash,
    reidentify,
    spoil,
)

MUTATIONS = int(os.environ.get("FPGA_GEN_MUTATIONS", "150"))


@pytest.fixture
def build_copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    write_png(tmp_path / "picture.png", draw_phantom(24, 30)[0])
    return tmp_path / "picture.png"


STRUCTURE = json.dumps({"version": VERSION}).encode()

ATTACKS = {
    "system": ("rtl/fpga_gen_top.v", "initial $system(\"touch PWNED\");\nendmodule\n"),
    "c": ("rtl/fpga_gen_top.v", "initial $c(\"system(\\\"touch PWNED\\\");\");\nendmodule\n"),
    "control file": ("rtl/leaves.vlt", "`verilator_config\n"),
    "a new file": ("rtl/zz.v", "module zz; initial $system(\"touch PWNED\"); endmodule\n"),
}  # fmt: skip


@pytest.fixture
def generated(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator's result for the tiny board, without its seconds."""
    verilog = {n: data.decode() for n, data in load_build(built).rtl().items()}
    monkeypatch.setattr("fpga_gen.generated.generate_verilog", lambda *_, **__: verilog)


@pytest.mark.usefixtures("generated")
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("command", ["simulate", "synth", "bitstream"])
def test_no_verilog_but_ours_is_compiled(
    cli, build_copy: Path, picture: Path, tmp_path: Path, command: str, attack: str, monkeypatch
):
    for tool in ("fpga_gen.generated.build_simulator", "fpga_gen.synth.flow.map_modules",
                 "fpga_gen.flows.bitstream.run_vivado"):  # fmt: skip
        monkeypatch.setattr(tool, lambda *_, **__: pytest.fail("a tool was run"))
    name, text = ATTACKS[attack]
    path = build_copy / name
    old = path.read_text() if path.exists() else ""
    path.write_text(old.replace("endmodule\n", text, 1) if text.endswith(old[-10:]) else text + old)
    reidentify(build_copy, name)
    options = ("--image", picture) if command == "simulate" else ()
    result = cli(command, build_copy, *options)
    assert result.code == 1
    assert f"{name}: differs from what this version of fpga-gen generates" in result.err


@pytest.mark.parametrize("name", ["vivado/build.tcl", "vivado/parameters.tcl", "vivado/more.tcl"])
def test_no_tcl_but_ours_is_sourced(build_copy: Path, name: str):
    check_project(load_build(build_copy))
    with (build_copy / name).open("a") as stream:
        stream.write('\nexec touch "PWNED"\n')
    rehash(build_copy, [name])
    with pytest.raises(BuildDirError, match=f"{name}: differs from what this version"):
        check_project(load_build(build_copy))


def test_a_lost_memory_is_no_harm(
    build_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where what is remembered is wrong, or gone, the Verilog is generated anew."""
    build = load_build(build_copy)
    check_verilog(build)
    good = _record(build.params).read_bytes()
    monkeypatch.setenv("FPGA_GEN_CACHE", str(tmp_path / "cache"))
    record = _record(build.params)
    record.parent.mkdir(parents=True)
    digest, text = good.split(b"\n", 1)
    other = zlib.compress(zlib.decompress(text).replace(b"module", b"nodule"))
    for bad in (b"\xff", digest + b"\n" + other):
        record.write_bytes(bad)
        check_verilog(build)
        assert record.read_bytes() == good


def test_an_engine_that_fits_no_board_is_not_generated(build_copy: Path):
    def widen(manifest: dict) -> None:
        manifest["parameters"] |= {"pixels": 64, "in_channels": 16, "dsp_columns": 64}

    change_json(build_copy / "manifest.json", widen)
    with pytest.raises(BuildDirError, match="pixels times the largest mode"):
        check_verilog(load_build(build_copy))


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def bomb() -> bytes:
    """4 MB of zeros in 4 kB."""
    return zipped({"structure.json": b"{}", "0.bias.npy": bytes(4 << 20)})


def header(shape: tuple[int, ...], dtype: type | str = np.int8) -> bytes:
    """An array's header with two bytes behind it."""
    stream = io.BytesIO()
    facts = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, facts)
    return stream.getvalue() + b"\0\0"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bomb, "2 entries of 4,194,306 bytes"),
        (lambda: zipped({"structure.json": STRUCTURE, "0.bias.npy": header((1 << 40,))}),
         "does not fit its header"),
        (lambda: zipped({"structure.json": STRUCTURE, "0.bias.npy": header((2,), "O")}),
         "does not fit its header"),
        (lambda: zipped({"structure.json": b"[" * 100_000}), "RecursionError"),
        (lambda: zipped({"structure.json": b"9" * 10_000}), "limit"),
        (lambda: zipped({"structure.json": STRUCTURE}), "is missing"),
        (lambda: b"", "BadZipFile"),
    ],
)  # fmt: skip
def test_archives_are_measured_before_they_are_unpacked(
    build_copy: Path, data, message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fpga_gen.quant.serialise.MAX_BYTES", 4 << 20)
    (build_copy / "quantised.npz").write_bytes(data())
    rehash(build_copy, ["quantised.npz"])
    with pytest.raises(BuildDirError, match=f"quantised.npz: corrupted .*{message}"):
        _ = load_build(build_copy).network


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a": NaN}', "9" * 5000, "[]", '{"a": 1e999}'])
@pytest.mark.parametrize("name", ["report.json", "layout.json"])
def test_odd_json_is_refused(build_copy: Path, name: str, text: str):
    (build_copy / name).write_text(text)
    rehash(build_copy, [name])
    build = load_build(build_copy)
    with pytest.raises(BuildDirError, match="build again"):
        _ = read_report(build) if name == "report.json" else build.layout


def use(folder: Path) -> None:
    """What the commands do with a build directory, tools and hardware apart."""
    build = load_build(folder)
    check_project(build)
    assert build.clock_mhz > 0
    assert build.memory_rate > 0
    assert build.design_hash >= 0
    network, layout = build.network, build.layout
    tensor = network.tensors[network.input]
    stored = np.zeros((tensor.channels, tensor.height, tensor.width), np.int8)
    pack_input(layout.input, stored)
    unpack_output(layout.output, bytes(layout.output.bytes))
    run_integer(network, stored)
    enter_figures(build, accuracy=None)


def mutate(folder: Path, rng: random.Random) -> str:
    """One change of content that hashes do not tell; what was changed."""
    kind = rng.choice(("manifest.json", "layout.json", "report.json", "structure", "array"))
    if kind == "structure":
        change_structure(folder / "quantised.npz", lambda data: spoil(data, rng))
    elif kind == "array":
        flip_array(folder / "quantised.npz", rng)
    else:
        change_json(folder / kind, lambda data: spoil(data, rng))
    if kind != "manifest.json":
        rehash(folder, [kind if kind.endswith(".json") else "quantised.npz"])
    return kind


def test_changed_content_is_refused_or_used_without_a_crash(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every exception but ours fails the test. Most changes are found; the rest are harmless:
    another weight, another name, another figure."""
    # The digest of the true parameters is remembered; others give another Verilog, or none.
    monkeypatch.setattr("fpga_gen.generated.generate_verilog", lambda *_, **__: {})
    seed = int(os.environ.get("FPGA_GEN_SEED", "0"))
    refused = 0
    for number in range(MUTATIONS):
        rng = random.Random(seed * 1_000_003 + number)
        folder = Path(shutil.copytree(built, tmp_path / "out"))
        kind = mutate(folder, rng)
        try:
            use(folder)
        except (BuildDirError, QuantError):
            refused += 1
        except FpgaGenError as error:
            pytest.fail(f"mutation {number} of {kind}: {error!r}")
        except Exception as error:
            raise AssertionError(f"mutation {number} of {kind} (seed {seed})") from error
        shutil.rmtree(folder)
    assert refused > MUTATIONS // 3


def test_the_unchanged_build_is_used(build_copy: Path):
    use(build_copy)
    assert json.loads((build_copy / "report.json").read_text())["accuracy"] is None
