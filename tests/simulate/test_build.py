"""Compiling: cache, errors, lint."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpga_gen.cache import cache_directory
from fpga_gen.errors import ToolError
from fpga_gen.simulate import build
from fpga_gen.simulate.build import build_simulator, first_error, lint
from fpga_gen.simulate.pins import pins_header


def test_equal_sources_are_compiled_once(
    copy_library: Path, copy_sources: list[Path], build_cache: Path, tmp_path, monkeypatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(build, "_compile", fail)
    again = build_simulator(copy_sources, cache=build_cache, optimise=0)
    assert again == copy_library
    folder = tmp_path / "verilog"  # the same text elsewhere, given as a folder
    folder.mkdir()
    for name, source in zip(("registers.v", "copy_engine.v"), copy_sources, strict=True):
        (folder / name).write_bytes(source.read_bytes())
    listed = [folder / "registers.v", folder / "copy_engine.v"]
    assert build_simulator(listed, cache=build_cache, optimise=0) == copy_library


@pytest.mark.parametrize("change", ["text", "parameter", "flag", "order"])
def test_any_change_is_compiled_again(
    copy_sources: list[Path], build_cache: Path, tmp_path: Path, monkeypatch, change: str
) -> None:
    class Compiled(Exception):
        pass

    def compiled(*_: object) -> None:
        raise Compiled

    monkeypatch.setattr(build, "_compile", compiled)
    sources, options = list(copy_sources), {}
    if change == "text":
        sources[1] = tmp_path / "copy_engine.v"
        sources[1].write_text(copy_sources[1].read_text() + "\n")
    elif change == "parameter":
        options = {"parameters": {"RESET_BUG": 2}}
    elif change == "flag":
        options = {"threads": 2}
    else:
        sources.reverse()
    with pytest.raises(Compiled):
        build_simulator(sources, cache=build_cache, optimise=0, **options)


def test_a_build_leaves_only_its_result(copy_library: Path, build_cache: Path) -> None:
    names = sorted(path.name for path in copy_library.parent.iterdir())
    assert names == ["build.log", "manifest.json", "simulator.so"]
    assert not list((build_cache / "simulators").glob("build-*"))
    assert (build_cache / "runtime").exists()


def test_verilog_errors_are_shown_with_the_line(tmp_path: Path) -> None:
    source = tmp_path / "broken.v"
    source.write_text("module fpga_gen_top(input clk);\n  wire a = nothing;\nendmodule\n")
    with pytest.raises(ToolError, match=r"verilator: %Error.*broken\.v:2:.*nothing") as caught:
        build_simulator(source, cache=tmp_path)
    assert caught.value.log is not None
    assert "nothing" in caught.value.log.read_text()
    with pytest.raises(ToolError, match=r"broken\.v:2:"):
        lint(source)


def test_missing_ports_are_listed(tmp_path: Path) -> None:
    source = tmp_path / "small.v"
    source.write_text(
        "module fpga_gen_top(input clk, output interrupt);\nassign interrupt = clk;\nendmodule\n"
    )
    with pytest.raises(
        ToolError, match=r"lacks the ports m_axi_0_araddr, .*s_axi_rready, rst; add"
    ):
        build_simulator(source, cache=tmp_path)


def test_wrong_widths_are_named() -> None:
    narrow = _ports() | {"m_axi_0_rdata": 64}
    with pytest.raises(ToolError, match=r"m_axi_0_rdata of top is 64 bits wide; .* needs 128 bits"):
        pins_header(narrow, "top")
    with pytest.raises(ToolError, match="m_axi_0_araddr of top is 32 bits"):
        pins_header(_ports() | {"m_axi_0_araddr": 32}, "top")
    header = pins_header(_ports(), "top")
    assert "constexpr int kReadPorts = 1;" in header
    assert "return m.__SYM__interrupt;" in header


def _ports() -> dict[str, int]:
    from fpga_gen.simulate import pins

    ports = {f"m_axi_0_{n}": 1 for n in (*pins.READ_CHANNELS, *pins.WRITE_CHANNELS)}
    ports |= {f"s_axi_{n}": 1 for n in pins.LITE_CHANNELS}
    ports |= {"m_axi_0_araddr": 40, "m_axi_0_awaddr": 40, "m_axi_0_rdata": 128}
    ports |= {"m_axi_0_wdata": 128, "m_axi_0_wstrb": 16, "s_axi_rdata": 32, "s_axi_wdata": 32}
    return ports | {
        "s_axi_awaddr": 12,
        "s_axi_araddr": 12,
        "clk": 1,
        "rst": 1,
        "__SYM__interrupt": 1,
    }


def test_missing_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"no Verilog source at .*absent\.v"):
        build_simulator(tmp_path / "absent.v")
    with pytest.raises(ToolError, match="no Verilog source at"):
        build_simulator(tmp_path)


def test_unconnected_pins_stop_a_build(tmp_path: Path) -> None:
    source = tmp_path / "open.v"
    source.write_text(
        "module leaf(input a, input b, output c);\nassign c = a & b;\nendmodule\n"
        "module fpga_gen_top(input clk, output c);\nleaf l (.a(clk), .c(c));\nendmodule\n"
    )
    with pytest.raises(ToolError, match=r"PINMISSING.*'b'"):
        build_simulator(source, cache=tmp_path)
    assert [w for w in lint(source) if "PINMISSING" in w]


def test_waivers_leave_a_sound_design_without_warnings(copy_sources: list[Path]) -> None:
    assert lint(copy_sources) == []


def test_first_error_finds_the_cause() -> None:
    text = "g++ -O2 a.cpp\nIn file b.h:\nb.h:3:1: error: expected ';'\nmake: *** [x] Error 1\n"
    assert first_error(text) == "b.h:3:1: error: expected ';'"
    assert first_error("make: *** No rule\n") == "make: *** No rule"
    assert first_error("%Error: Exiting due to 1\n%Error: a.v:1: bad") == "%Error: a.v:1: bad"
    assert first_error("") == "failed without a message"


def test_cache_directory_follows_the_environment(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FPGA_GEN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "fpga-gen"
    monkeypatch.setenv("FPGA_GEN_CACHE", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"
