"""Weight loader: stream buffer, and the way of weights and parameters to their registers.

The stream reader fills a ring of stream words ahead of time. The loader executes a queue of
commands in program order: PROGRAM and LOAD hand whole words on; CONV and VECTOR cut parameters and
weight slots out of the stream at 32-bit granules. The parameters of a group that skips slots have a
head in front of them, which the control waits for. A CONV's slots are replayed for every pixel tile
and freed with the last one, so every weight crosses the DRAM interface once. Slots may carry half
the inputs or fewer output channels (slot_layout.py); the other half is cleared in the stage.

    WeightRing -> word -> SlotAssembly -> SlotStage -> array
                    |         +-> parameter memory -> exit path; head -> LoaderControl
                    +-> WordQueue -> words of PROGRAM and LOAD
    LoaderControl: which words, and what they are

A slot's credit for the walker is given with the read of its last word, CREDIT_LEAD cycles before it
is staged at the latest, because the array's switch follows a credit later than that.
"""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from fpga_gen.contract.parameter_record import PARAM_BITS
from fpga_gen.contract.params import GRANULE, PARAM_ENTRIES, EngineParams
from fpga_gen.contract.weight_stream import HEAD_GRANULES
from fpga_gen.hardware.common.joints import ParamRead
from fpga_gen.hardware.common.ram import RamShape, place_ram
from fpga_gen.hardware.common.resets import clear
from fpga_gen.hardware.common.word_queue import WordQueue, queue_shape
from fpga_gen.hardware.loader.joints import COMMAND
from fpga_gen.hardware.loader.loader_control import LoaderControl
from fpga_gen.hardware.loader.slot_assembly import READ_CYCLES, SlotAssembly
from fpga_gen.hardware.loader.slot_stage import MOVE_CYCLES, SlotStage
from fpga_gen.hardware.loader.weight_ring import WeightRing, ring_shapes

CREDIT_LEAD = READ_CYCLES + MOVE_CYCLES  # from a slot's credit to its switch, at least

HEAD_BITS = HEAD_GRANULES * GRANULE
RESETS = 3  # copies of the reset: for the ring, the control, all else


def param_shape(params: EngineParams) -> RamShape:
    return RamShape(params.columns * PARAM_BITS, PARAM_ENTRIES, "distributed")


def ram_shapes(params: EngineParams) -> list[RamShape]:
    """Every memory of the loader."""
    return [*ring_shapes(params), queue_shape(params.stream_bits), param_shape(params)]


class Loader(wiring.Component):
    """See module docstring.

    Members:
        resets: In, RESETS copies of the reset.
        words: stream words in. command: the next command. out: words of PROGRAM and LOAD commands.
        stage: Out, slot bits for the array, stable from CREDIT_LEAD cycles after the credit to
            `switch` plus STAGE_HOLD cycles, if the switch before was at least CREDIT_LEAD cycles
            earlier. credit_add: Out, pulse per slot. underrun: Out, the array switched to an empty
            stage.
        parameters: read of the parameter memory. params_ready: Out, there is an entry besides the
            one that the exit path still holds.
    """

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        super().__init__(
            {
                "resets": In(RESETS),
                "words": In(stream.Signature(params.stream_bits)),
                "command": In(stream.Signature(COMMAND)),
                "out": Out(stream.Signature(params.stream_bits)),
                "stage": Out(params.subgroups * params.sub_weight_bits),
                "switch": In(1),
                "credit_add": Out(1),
                "parameters": In(ParamRead(params)),
                "params_ready": Out(1),
                "underrun": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        ring = WeightRing(p, expand=self.expand)
        control = LoaderControl(p)
        assembly = SlotAssembly(p)
        stage = SlotStage(p)
        queue = WordQueue(p.stream_bits, expand=self.expand)
        m.submodules.ring = ResetInserter(self.resets[0])(ring)
        m.submodules.control = ResetInserter(self.resets[1])(control)
        m.submodules.assembly = ResetInserter(self.resets[2])(assembly)
        m.submodules.stage = ResetInserter(self.resets[2])(stage)
        m.submodules.queue = ResetInserter(self.resets[2])(queue)
        connect(m, flipped(self.out), queue.read)
        connect(m, flipped(self.words), ring.words)
        connect(m, flipped(self.command), control.command)
        connect(m, control.ring, ring.read)
        connect(m, assembly.slot, stage.slot)
        m.d.comb += [
            queue.write.eq(control.queue_write),
            queue.data.eq(ring.word),
            control.queue_count.eq(queue.count),
            assembly.read.eq(control.read),
            assembly.word.eq(ring.word),
            stage.slot_read.eq(control.slot_read),
            control.may_assemble.eq(stage.may_assemble),
            stage.switch.eq(self.switch),
            self.underrun.eq(stage.underrun),
            self.stage.eq(stage.stage),
            self.credit_add.eq(control.slot_read),
            control.param_release.eq(self.parameters.release),
            control.head.eq(assembly.slot.record[:HEAD_BITS]),
            control.head_valid.eq(assembly.param_push),
        ]
        self._param_memory(m, assembly)
        return m

    def _param_memory(self, m: Module, assembly: SlotAssembly) -> None:
        shape = param_shape(self.params)
        ram = place_ram(m, "param_memory", shape, expand=self.expand)
        pointer = Signal(range(PARAM_ENTRIES))
        level = Signal(range(PARAM_ENTRIES + 1))
        m.d.comb += [
            ram.w_addr.eq(pointer),
            ram.w_en.eq(assembly.param_push),
            ram.w_data.eq(assembly.slot.record[HEAD_BITS : HEAD_BITS + shape.width]),
            ram.r_addr.eq(self.parameters.index),
            self.parameters.data.eq(ram.r_data),
            self.params_ready.eq(level > self.parameters.held),
        ]
        with m.If(assembly.param_push):
            m.d.sync += pointer.eq(pointer + 1)
        m.d.sync += level.eq(level + assembly.param_push - self.parameters.release)
        clear(m, self.resets[2], (pointer, level))
