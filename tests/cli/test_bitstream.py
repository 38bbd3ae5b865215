"""`fpga-gen bitstream` with a program in Vivado's place."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fpga_gen.builddir.artifacts import load_build
from fpga_gen.cache import cache_directory
from fpga_gen.deploy.vivado_reports import read_reports
from fpga_gen.errors import ToolError
from fpga_gen.flows.bitstream import _check_timing

DEPLOY = Path(__file__).parents[1] / "deploy"


@pytest.fixture
def build_copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


@pytest.fixture
def vivado(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in in an installation folder; nothing of the machine's own is found. The cache is
    empty but for what the build remembers of its Verilog."""
    shutil.copytree(cache_directory() / "verilog", tmp_path / "cache" / "verilog")
    program = tmp_path / "Vivado" / "2023.1" / "bin" / "vivado"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\n" + (DEPLOY / "fake_vivado.py").read_text())
    program.chmod(0o755)
    monkeypatch.setenv("FAKE_REPORTS", str(DEPLOY / "reports"))
    monkeypatch.setenv("FPGA_GEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv("XILINX_VIVADO", raising=False)
    return program


def runs(vivado: Path) -> int:
    calls = vivado.with_name("calls")
    return len(calls.read_text().splitlines()) if calls.is_file() else 0


def test_success_makes_a_deploy_folder(cli, build_copy: Path, vivado: Path):
    result = cli("bitstream", build_copy, "--vivado", vivado, "--json")
    assert result.code == 0, result.err
    data = json.loads(result.out)
    assert data["cached"] is False
    assert (build_copy / "fpga_gen.bit").read_bytes().startswith(b"bitstream")
    assert (build_copy / "fpga_gen.hwh").is_file()
    build = load_build(build_copy)  # the manifest lists the new files
    assert {"fpga_gen.bit", "fpga_gen.hwh", "implementation/timing.rpt"} <= set(build.results)
    facts = build.json("report.json")["implementation"]
    assert facts == data["implementation"]
    assert facts["kind"] == "implemented"
    assert facts["tool"] == "Vivado 2023.1"
    assert facts["clock_mhz"] == 300.0
    assert facts["used"] == {
        "luts": 171234, "flip_flops": 201500, "dsps": 1700, "bram36": 89, "uram": 96,
    }  # fmt: skip
    assert facts["timing"]["setup_slack_ns"] == 0.041
    assert facts["total_w"] == 9.871
    text = (build_copy / "report.md").read_text()
    assert "## Bitstream (implemented)" in text
    page = (build_copy / "report.html").read_text()
    assert "Bitstream (implemented)" in page
    assert "171,234" in page
    assert "Not run on hardware" in text


def test_host_package_accepts_the_folder(cli, build_copy: Path, vivado: Path):
    from fpga_gen_host.deployment import load_deployment
    from fpga_gen_host.errors import DeployError

    assert cli("bitstream", build_copy, "--vivado", vivado).code == 0
    assert load_deployment(build_copy).bitstream == build_copy / "fpga_gen.bit"
    (build_copy / "fpga_gen.bit").write_bytes(b"another")
    with pytest.raises(DeployError, match=r"fpga_gen\.bit: differs from the manifest"):
        load_deployment(build_copy)


def test_the_second_run_comes_from_the_cache(cli, build_copy: Path, vivado: Path, built: Path):
    assert cli("bitstream", build_copy, "--vivado", vivado).code == 0
    assert runs(vivado) == 1
    result = cli("bitstream", build_copy, "--vivado", vivado)
    assert result.code == 0
    assert "from the cache" in result.out
    assert runs(vivado) == 1
    # A fresh build of the same engine needs no run either.
    shutil.rmtree(build_copy)
    shutil.copytree(built, build_copy)
    assert cli("bitstream", build_copy, "--vivado", vivado).code == 0
    assert runs(vivado) == 1
    assert load_build(build_copy).json("report.json")["implementation"] is not None


def test_another_input_is_another_run(
    cli, build_copy: Path, vivado: Path, model: Path, tmp_path: Path
):
    assert cli("bitstream", build_copy, "--vivado", vivado).code == 0
    slower = tmp_path / "slower"
    assert cli("build", model, "--board", "tiny", "--clock-mhz", 299, "-o", slower).code == 0
    assert cli("bitstream", slower, "--vivado", vivado).code == 0
    assert runs(vivado) == 2


def test_path_may_be_the_installation_folder_or_on_the_path(
    cli, build_copy: Path, vivado: Path, monkeypatch: pytest.MonkeyPatch
):
    assert cli("bitstream", build_copy, "--vivado", vivado.parents[1]).code == 0
    monkeypatch.setenv("XILINX_VIVADO", str(vivado.parents[1]))
    assert cli("bitstream", build_copy).code == 0
    monkeypatch.delenv("XILINX_VIVADO")
    monkeypatch.setenv("PATH", str(vivado.parent))
    assert cli("bitstream", build_copy).code == 0
    assert runs(vivado) == 1


def test_without_vivado_it_says_what_to_copy_where(cli, build_copy: Path, vivado: Path):
    result = cli("bitstream", build_copy)
    assert result.code == 1
    assert len(result.err.strip().splitlines()) == 1
    for part in (
        "vivado: not found",
        f"Copy {build_copy} to a machine with Vivado",
        "vivado -mode batch -source vivado/build.tcl -tclargs vivado_run 4",
        "copy vivado_run/out/fpga_gen.bit and fpga_gen.hwh into",
    ):
        assert part in result.err


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("error", "[BD 5-216] VLNV <x.com:ip:none:1.0> is not supported for this version"),
        ("run error", "[Synth 8-439] module 'lost' not found"),
        ("own error", "the board files of none:x:part0 are not installed"),
        ("timing", "timing is not met at 300 MHz (setup slack -0.250 ns"),
        ("crash", "ended by SIGSEGV, last line: Abnormal program termination (11)"),
        ("status", "ended with status 3, last line: CRITICAL WARNING"),
    ],
)
def test_failure_is_one_clear_line_with_the_log(
    cli, build_copy: Path, vivado: Path, monkeypatch: pytest.MonkeyPatch, mode: str, message: str
):
    before = load_build(build_copy).facts
    monkeypatch.setenv("FAKE_VIVADO", mode)
    result = cli("bitstream", build_copy, "--vivado", vivado)
    assert result.code == 1
    assert len(result.err.strip().splitlines()) == 1
    assert message in result.err
    assert f"(log: {build_copy / 'vivado.log'})" in result.err
    assert "Vivado v2023.1" in (build_copy / "vivado.log").read_text()
    assert load_build(build_copy).facts == before
    assert not (build_copy / "fpga_gen.bit").exists()
    monkeypatch.setenv("FAKE_VIVADO", "success")  # nothing of the failure was kept
    assert cli("bitstream", build_copy, "--vivado", vivado).code == 0


def test_missed_timing_names_a_clock_that_can_be_reached(
    cli, build_copy: Path, vivado: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FAKE_VIVADO", "timing")
    result = cli("bitstream", build_copy, "--vivado", vivado)
    assert "build again with --clock-mhz 279" in result.err  # 1000 / (3.333 + 0.250)
    assert "worst path (exit path): " in result.err
    assert "exit/steps/at_lane_reg[2]/C -> " in result.err
    double = SimpleNamespace(build=SimpleNamespace(params=SimpleNamespace(double_clock=True)))
    out = build_copy / "vivado_run" / "out"
    missed = read_reports(out)
    with pytest.raises(ToolError, match="with --clock-mhz 260"):  # 1000 / (3.333 + 2 * 0.250)
        _check_timing(double, missed, out)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("no version", "libtinfo.so.5 not found"),
        ("old", "version 2019.2 is too old, 2020.2 is needed"),
        ("no hwh", "ended without an error but wrote no fpga_gen.hwh"),
        ("odd report", "power.rpt holds no row 'Total On-Chip Power (W)'"),
    ],
)
def test_odd_tools_are_refused(
    cli, build_copy: Path, vivado: Path, monkeypatch: pytest.MonkeyPatch, mode: str, message: str
):
    monkeypatch.setenv("FAKE_VIVADO", mode)
    result = cli("bitstream", build_copy, "--vivado", vivado)
    assert result.code == 1
    assert message in result.err
    assert "Traceback" not in result.err


def test_wrong_path_is_refused(cli, build_copy: Path, vivado: Path, tmp_path: Path):
    result = cli("bitstream", build_copy, "--vivado", tmp_path / "nowhere")
    assert result.code == 1
    assert "no program at" in result.err


def test_changed_build_is_refused_before_anything_runs(cli, build_copy: Path, vivado: Path):
    path = build_copy / "vivado" / "build.tcl"
    path.write_text(path.read_text() + "# changed\n")
    result = cli("bitstream", build_copy, "--vivado", vivado)
    assert result.code == 1
    assert "vivado/build.tcl: differs from the manifest" in result.err
    assert runs(vivado) == 0


def test_a_bitstream_of_the_user_is_not_replaced(cli, build_copy: Path, vivado: Path):
    (build_copy / "fpga_gen.bit").write_bytes(b"made by hand")
    result = cli("bitstream", build_copy, "--vivado", vivado)
    assert result.code == 1
    assert "fpga_gen.bit: not written by fpga-gen" in result.err
    assert runs(vivado) == 0  # said before the long work
    assert (build_copy / "fpga_gen.bit").read_bytes() == b"made by hand"


def test_a_stand_in_gives_way_to_the_bitstream(cli, build_copy: Path, vivado: Path):
    from fpga_gen.deploy.bitfile import stand_in_bitstream

    handoff = '<EDKSYSTEM VIVADOVERSION="fpga-gen 0">'
    (build_copy / "fpga_gen.bit").write_bytes(stand_in_bitstream("fpga_gen", "p", 1, handoff))
    (build_copy / "fpga_gen.hwh").write_text(handoff)
    assert cli("bitstream", build_copy, "--vivado", vivado).code == 0
    assert (build_copy / "fpga_gen.bit").read_bytes().startswith(b"bitstream")


def test_a_rebuild_takes_the_old_bitstream_away(cli, build_copy: Path, vivado: Path, model: Path):
    assert cli("bitstream", build_copy, "--vivado", vivado).code == 0
    result = cli("build", model, "--board", "tiny", "-o", build_copy)
    assert result.code == 0, result.err
    assert not (build_copy / "fpga_gen.bit").exists()
    assert not (build_copy / "implementation").exists()
    assert load_build(build_copy).json("report.json")["implementation"] is None
