"""The accelerator as Vivado sees it: AXI shell plus engine, and its Verilog files."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from amaranth.back import verilog
from amaranth.hdl import Instance, Module, Signal
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from fpga_gen.contract.modules import TOP
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.array import mac_array
from fpga_gen.hardware.common import design_hash
from fpga_gen.hardware.common.leaf import verilator_config
from fpga_gen.hardware.control import program_memory, sequencer
from fpga_gen.hardware.engine import EngineCore
from fpga_gen.hardware.loader import loader
from fpga_gen.hardware.memory import feature_memory
from fpga_gen.hardware.results import exit_lookup, maxpool, requantise, vector_fetch
from fpga_gen.hardware.shell import axi_names
from fpga_gen.hardware.shell.shell import Shell
from fpga_gen_host.registers import LAYER_BITS

CONTROL_FILE = "leaves.vlt"


@contextmanager
def collector_paused() -> Iterator[None]:
    """Amaranth makes millions of objects that all stay until the end: looking among them for cycles
    takes as long as everything else."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


class Top(wiring.Component):
    """Flat pins (see axi_names), the shell and the engine, which the shell resets.

    Both are in one clock domain without a reset: the pin `rst` feeds the shell's tree of copies.
    debug_layer counts dispatched instructions, for tensor tracing in simulation.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        self.domain, self.reset = axi_names.clock_and_reset(params.ports)
        self.fast_clock = axi_names.fast_clock() if params.double_clock else None
        super().__init__({**axi_names.axi_members(params.ports), "debug_layer": Out(LAYER_BITS)})

    def ports(self) -> dict[str, tuple[Signal, PortDirection]]:
        """Every pin by its literal name, clock and reset included."""
        pins = {"clk": (self.domain.clk, PortDirection.Input)}
        pins["rst"] = (self.reset, PortDirection.Input)
        if self.fast_clock is not None:
            pins["clk_2x"] = (self.fast_clock, PortDirection.Input)
        for name, member in self.signature.members.items():
            direction = PortDirection.Input if member.flow is In else PortDirection.Output
            pins[name] = (getattr(self, name), direction)
        return pins

    def elaborate(self, platform) -> Module:
        m = Module()
        m.domains += self.domain
        m.submodules.shell = shell = Shell(self.params)
        m.submodules.engine = engine = EngineCore(self.params)
        m.submodules.identity = Instance(design_hash.MODULE, o_value=shell.design_hash)
        axi_names.connect_pins(m, self, shell, self.params.ports)
        if self.fast_clock is not None:
            m.d.comb += engine.fast_clk.eq(self.fast_clock)
        m.d.comb += [
            shell.reset.eq(self.reset),
            engine.reset.eq(shell.soft_reset),
            engine.start.eq(shell.start),
            engine.store_idle.eq(shell.store_idle),
            engine.program_words.eq(shell.program_words),
            self.debug_layer.eq(engine.status.layer),
        ]
        connect(m, engine.fetch, shell.fetch)
        connect(m, engine.store, shell.store)
        connect(m, engine.store_beats, shell.store_beats)
        connect(m, engine.status, shell.status)
        connect(m, shell.words, engine.words)
        axi_names.annotate_pins(self, self.params.ports)
        return m


def generate_verilog(params: EngineParams) -> dict[str, str]:
    """{file name: Verilog text} of the accelerator, with 0 for its design hash (see
    design_hash.stamp); byte-deterministic."""
    with collector_paused():
        return _generate(params)


def _generate(params: EngineParams) -> dict[str, str]:
    top = Top(params)
    text = verilog.convert(
        top, name=TOP, ports=top.ports(), emit_src=False, strip_internal_attrs=True
    )
    rams = (
        *loader.ram_shapes(params),
        program_memory.program_shape(params),
        sequencer.TABLE_SHAPE,
        vector_fetch.TABLE_SHAPE,
        *([exit_lookup.TABLE_SHAPE] if params.activations else []),
    )
    modules = {
        TOP: text,
        design_hash.MODULE: design_hash.verilog(0),
        **{shape.name: shape.verilog() for shape in rams},
        **feature_memory.emit_bank(params),
        **mac_array.emit(params),
        **maxpool.emit(params),
        **requantise.emit(params),
    }
    files = {f"{name}.v": text for name, text in sorted(modules.items())}
    return {**files, CONTROL_FILE: verilator_control(params)}


def verilator_control(params: EngineParams) -> str:
    """Verilator control file: every leaf stays one function (see leaf.verilator_config)."""
    leaves = dict(mac_array.leaves(params))
    del leaves[mac_array.MODULE]
    bank = feature_memory.bank_shape(params).signature
    return verilator_config(
        {name: leaf.signature for name, leaf in leaves.items()}
        | {requantise.MODULE: requantise.RequantLane().signature}
        | {name: bank for name in feature_memory.emit_bank(params)}
    )
