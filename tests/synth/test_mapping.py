"""Real blocks through Yosys: memories map to what they were meant for, costs keep their limits,
and the table that a build estimates from is that of the hardware as it is."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from fpga_gen.boards import load_board
from fpga_gen.contract import modules
from fpga_gen.contract.params import PORT_BITS
from fpga_gen.generated import engine_verilog
from fpga_gen.hardware.array import accumulators, mac_array, mac_dsp
from fpga_gen.hardware.common.design_hash import FILE, MODULE, stamp
from fpga_gen.hardware.common.leaf import emit_leaf
from fpga_gen.hardware.control import program_memory, sequencer
from fpga_gen.hardware.loader import loader, weight_ring
from fpga_gen.hardware.memory import feature_memory
from fpga_gen.hardware.results import exit_lookup, maxpool, requantise, vector_fetch
from fpga_gen.hardware.shell.axi_fifo import BlockFifo
from fpga_gen.resources import ASKED, COSTS, LIMITS, estimate_resources, excess, memory_blocks
from fpga_gen.synth.design import analyse_design
from fpga_gen.synth.flow import MAX_FAN_OUT
from fpga_gen.synth.known import known_design
from fpga_gen.synth.modules import split_modules
from fpga_gen.synth.netlist import Netlist
from fpga_gen.synth.table import ENGINES, reference_params
from fpga_gen.synth.yosys import map_modules
from tests.engines import SMALL

ZCU104 = load_board("zcu104").array
BLOCK_BANKS = replace(ZCU104, bank_rows=2048, activations=True)
BLOCK_BANK = feature_memory.bank_module(BLOCK_BANKS, BLOCK_BANKS.banks - 1)
SUMS = accumulators.module_name(ZCU104.dsp_columns)
SHAPES = {
    **{f"ring_{n}": shape for n, shape in enumerate(weight_ring.ring_shapes(BLOCK_BANKS))},
    "program": program_memory.program_shape(BLOCK_BANKS),
    "tables": sequencer.TABLE_SHAPE,
    "vector_tables": vector_fetch.TABLE_SHAPE,
    "lookup": exit_lookup.TABLE_SHAPE,
}


def map_texts(texts: dict[str, str], family: str) -> dict[str, Netlist]:
    return map_modules(split_modules({f"{k}.v": t for k, t in texts.items()}), family)


@pytest.fixture(scope="module")
def xcup() -> dict[str, Netlist]:
    """Blocks that tests look at, mapped in one run: Yosys reads its libraries for seconds."""
    array = mac_array.emit(ZCU104)
    texts = {
        **{name: shape.verilog(name) for name, shape in SHAPES.items()},
        **{name: array[name] for name in (SUMS, mac_dsp.MODULE, "mac_skew")},
        BLOCK_BANK: feature_memory.emit_bank(BLOCK_BANKS)[BLOCK_BANK],
        "fifo": emit_leaf(BlockFifo(width=PORT_BITS), "fifo"),
        "parameters": loader.param_shape(SMALL).verilog("parameters"),
        **maxpool.emit(SMALL),
        **requantise.emit(SMALL),
    }
    return map_texts(texts, "xcup")


def test_feature_memory_is_ultraram_where_the_family_has_it():
    name = modules.BANK
    hierarchy = split_modules({f"{name}.v": feature_memory.emit_bank(ZCU104)[name]})
    bank = analyse_design(hierarchy, map_modules(hierarchy, "xcup"), name)
    assert bank.cost.uram == 4  # 8192 rows x 16 bytes
    assert bank.cost.bram36 == bank.cost.lut_memory == 0
    assert not bank.wide_nets(MAX_FAN_OUT)
    assert bank.widest.loads == 64  # a register chooses between primitives for as many bits
    assert bank.widest.net.startswith(f"{name}_64/")


def test_feature_memory_of_7_series_is_block_ram():
    params = replace(ZCU104, family="xc7", bank_rows=4096)
    bank = map_texts(feature_memory.emit_bank(params), params.family)[modules.BANK]
    assert bank.cost.bram36 == 16
    assert bank.cost.uram == 0


def test_partial_sums_lie_in_luts(xcup: dict[str, Netlist]):
    block = xcup[SUMS]
    sums = ZCU104.dsp_columns * 32 * 2  # partial sums and their drain copy
    assert block.count("RAM32M16") == -(-sums // 2 // 96) * 2 * 7
    assert block.cost.bram36 == 0
    assert block.cost.lut <= 72 * ZCU104.dsp_columns


def test_one_dsp_for_two_int8_macs(xcup: dict[str, Netlist]):
    pair = xcup[mac_dsp.MODULE]
    assert pair.cost.dsp == ZCU104.in_channels  # of 2 x CI multiply-accumulates
    assert pair.count("DSP48E2") == pair.cost.dsp


def test_memories_of_the_engine_are_block_ram_as_estimated(xcup: dict[str, Netlist]):
    """Weight ring, program, tables, those of the exit path, a FIFO and a bank of block RAM:
    together with the layer log they are all that `memory_blocks` counts."""
    params = BLOCK_BANKS
    netlists = {name: xcup[name] for name in (*SHAPES, "fifo", BLOCK_BANK)}
    assert not any(n.cost.uram for n in netlists.values())
    # Behind the FIFO's block RAM there is a queue in LUTs.
    assert [name for name, n in netlists.items() if n.cost.lut_memory] == ["fifo"]
    blocks = {name: netlist.cost.bram36 for name, netlist in netlists.items()}
    ring = sum(count for name, count in blocks.items() if name.startswith("ring_"))
    assert ring == 57  # 4096 rows of 512 bits: 9 bits a block
    log = 1
    total = ring + blocks["program"] + params.bram_banks * blocks[BLOCK_BANK] + log
    total += 3 * blocks["tables"] + 2 * blocks["vector_tables"]
    total += (params.ports + 1) * blocks["fifo"]
    assert blocks["lookup"] == 0.5  # eight tables
    total += params.requant_lanes * blocks["lookup"]
    assert memory_blocks(params)[1] == math.ceil(total)  # a half block takes a whole one


def test_small_memories_lie_in_luts(xcup: dict[str, Netlist]):
    """Parameters of the columns and the running maxima of max-pool."""
    parts = [name for name in xcup if name.startswith("parameters_")]
    assert parts
    for name in (maxpool.MODULE, *parts):
        assert xcup[name].cost.lut_memory > 0
    assert all(xcup[n].cost.bram36 == xcup[n].cost.uram == 0 for n in (maxpool.MODULE, *parts))


def test_a_requantised_channel_takes_one_dsp(xcup: dict[str, Netlist]):
    lane = xcup[requantise.MODULE]
    assert lane.cost.dsp == 1
    assert lane.cost.bram36 == 0


def table(name: str = "zcu104") -> dict:
    references = json.loads(COSTS.read_text())["references"]
    return next(r for r in references if r["name"] == name)


def test_the_table_agrees_with_a_fresh_mapping(xcup: dict[str, Netlist]):
    """A few quick blocks; the whole takes minutes."""
    known = table()["blocks"]
    for name in ("mac_dsp_pair", "mac_skew"):
        cost, entry = xcup[name].cost, known[name]
        assert (cost.lut, cost.ff, cost.dsp) == (entry["lut"], entry["ff"], entry["dsp"])


@pytest.mark.parametrize("name", ENGINES)
def test_the_table_is_not_stale(name: str):
    """Every block of an engine of the table; `python -m fpga_gen.synth.table` renews the table."""
    params = reference_params(name)
    remedy = "run `python -m fpga_gen.synth.table`"
    assert table(name)["params"] == params.to_dict(), f"another engine: {remedy}"
    known = {name: entry["digest"] for name, entry in table(name)["blocks"].items()}
    verilog = engine_verilog(params)
    digests = split_modules(verilog).digests
    stale = {n for n in digests.keys() | known.keys() if digests.get(n) != known.get(n)}
    assert not stale, f"{sorted(stale)} changed: {remedy}"
    assert known_design(stamp(verilog, 0x0123_4567_89AB_CDEF), 300.0) is not None


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_of_the_table_fits_and_its_estimate_is_what_was_mapped(name: str):
    facts, total = load_board(ENGINES[name][0]), table(name)["total"]
    params = reference_params(name)
    need = estimate_resources(params)
    assert (need.luts, need.flip_flops, need.dsps) == (total["lut"], total["ff"], total["dsp"])
    assert (need.bram36, need.uram) == (math.ceil(total["bram36"]), total["uram"])
    # With a second exit pixel the ZCU104's own array is above what a search may take.
    assert not excess(facts, params, LIMITS if params.exit_pixels == 1 else ASKED)


def test_limits_of_the_array():
    """LUTs of an SP2 multiply-accumulate with its share of the adder tree."""
    column = table()["blocks"]["mac_sp2_column"]
    assert column["lut"] / ZCU104.in_channels <= 47


def test_a_build_finds_the_engine_only_if_every_block_is_the_same(tmp_path, monkeypatch):
    from fpga_gen.synth import known

    leaf = "module {name} (a);\n  {text}\nendmodule\n"
    top = f"module {known.TOP} (a);\n  leaf first (\n    .a(a)\n  );\n"
    top += f"  {MODULE} identity (\n    .value(h)\n  );\nendmodule\n"
    design = stamp({"leaf.v": leaf.format(name="leaf", text="input a;"), "top.v": top, FILE: ""}, 0)
    digests = split_modules(design).digests
    entry = {
        "blocks": {name: {"digest": digest, "copies": 1} for name, digest in digests.items()},
        "total": {"lut": 5, "ff": 6, "dsp": 7, "bram36": 0.5, "uram": 0},
        "worst": {"levels": 4, "from": "a", "to": "b"},
        "wide_nets": 3,
        "widest": {"loads": 70, "net": "a"},
        "params": {"family": "xcup"},
        "control_sets": 9,
        "timing": {
            "clock_mhz": 300.0,
            "pairs": 20,
            "tight_pairs": 2,
            "paths": [
                ["control", "engine clock", 1.0, "a", "b", [[1000, 5], [2000, 1]]],
                ["accumulators", "engine clock", 1.0, "c", "d", [[900, 2]]],
            ],
        },
    }
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"references": [entry]}))
    monkeypatch.setattr(known, "COSTS", file)
    found = known.known_design(stamp(design, 77), 250.0)  # the hash is none of the costs
    assert found is not None
    assert (found[0].luts, found[0].bram36, found[1].worst_levels) == (5, 1, 4)
    assert (found[1].wide_nets, found[1].widest, found[1].widest_net) == (3, 70, "a")
    timing = found[1]
    assert (timing.clock_mhz, timing.allowed_ps_per_hop, timing.pairs) == (250.0, 600.0, 0)
    assert [p.block for p in timing.classes] == ["control", "accumulators"]
    assert timing.mhz_at_ps_per_hop["500"] == 285.7  # 1000 + 5 x 500
    assert known.known_design(stamp(design, 77), 300.0)[1].pairs == 20
    changed = {**design, "leaf.v": leaf.format(name="leaf", text="input  [1:0] a;")}
    assert known.known_design(changed, 300.0) is None
