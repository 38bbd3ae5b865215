"""Networks on the whole accelerator: cocotbext-axi memories and driver, random back-pressure,
faults. The expected output comes from the integer values of the graph."""

from __future__ import annotations

from functools import cache

import numpy as np

from fpga_gen.contract.isa import DECODER_OPS, Op
from fpga_gen_host.regions import unpack_output
from fpga_gen_host.registers import ErrorCode
from rtl_tests.cocotb_common import BYTES, Driven, R, case_of, cycles
from rtl_tests.networks import Network, compile_network
from tests.engines import SMALL
from tests.schedule.graphs import example

PROGRAM, WEIGHTS, INPUT, OUTPUT, END = 0x1_0000, 0x1_8000, 0x2_0000, 0x3_0000, 0x3_8000
SIZE = 0x4_0000
WATCHDOG = 1500
DONE, BUSY, ERROR, DRAINING = (
    R[f"STATUS_{name}_MASK"] for name in ("DONE", "BUSY", "ERROR", "DRAINING")
)
IRQ_ENABLE = R["CONTROL_IRQ_ENABLE_MASK"]
SHORT = "unsigned_input"  # a pool and a convolution
HASH = 0x0123_4567_5EED_F00D
assert SMALL.ports == 1


@cache
def network(name: str) -> Network:
    return compile_network(example(name, SMALL), SMALL)


class System(Driven):
    """The accelerator, its memory of random bytes and its driver."""

    def __init__(self, dut, rng) -> None:
        super().__init__(dut, rng, SIZE, SMALL.ports)

    async def set_up(self) -> None:
        await self.begin(0.3, reads=(PROGRAM, OUTPUT), writes=(OUTPUT, END))

    async def load(self, net: Network, **changes: bytes) -> None:
        """Fill the memory with noise and the frame, and set addresses and windows.

        changes: other contents of program, weights or input.
        """
        self.memory.bad = range(0)
        self.image = bytearray(self.rng.randbytes(SIZE))
        for base, name in ((PROGRAM, "program"), (WEIGHTS, "weights"), (INPUT, "input")):
            data = changes.get(name, getattr(net.frame, name))
            self.image[base : base + len(data)] = data
        await self.memory.write(0, bytes(self.image))
        await self.write_addresses(
            PROGRAM=PROGRAM, WEIGHTS=WEIGHTS, INPUT=INPUT, OUTPUT=OUTPUT,
            READ_WINDOW0_BASE=PROGRAM, READ_WINDOW0_LIMIT=INPUT,
            READ_WINDOW1_BASE=INPUT, READ_WINDOW1_LIMIT=OUTPUT,
            WRITE_WINDOW_BASE=OUTPUT, WRITE_WINDOW_LIMIT=END,
        )  # fmt: skip
        await self.write("PROGRAM_WORDS", len(net.frame.program) // BYTES)
        await self.write("WATCHDOG", WATCHDOG)

    async def good_run(self, name: str = SHORT) -> None:
        """A whole frame: outputs bit for bit, exact traffic, and no other byte written."""
        net = network(name)
        await self.load(net)
        await self.start()
        assert await self.interrupt() == DONE
        await self.check_results(net)
        await self.acknowledge()

    async def check_results(self, net: Network) -> None:
        layout, values = net.schedule.host_output, net.example.values
        after = await self.memory.read(0, SIZE)
        stored = unpack_output(layout, after[OUTPUT : OUTPUT + layout.bytes])
        assert set(stored) == set(net.example.graph.outputs)
        for tensor, got in stored.items():
            np.testing.assert_array_equal(got, values[tensor], err_msg=tensor)
        assert after[:OUTPUT] == self.image[:OUTPUT]
        assert after[OUTPUT + layout.bytes :] == self.image[OUTPUT + layout.bytes :]
        estimate = net.schedule.estimate
        assert await self.read("READ_BEATS_0") * BYTES == estimate.read_bytes
        assert await self.read("WRITE_BEATS") * BYTES == estimate.write_bytes

    async def expect_error(self, code: ErrorCode, info: int | None = None) -> None:
        """The run ends with this error; after a fault nothing is left: a good run."""
        status = await self.interrupt()
        assert status & (ERROR | DONE | BUSY) == ERROR
        assert ErrorCode(status >> 8 & 0xFF) is code
        assert info is None or status >> 16 == info, status >> 16
        await self.settled()
        assert await self.read("STATUS") & (ERROR | DRAINING) == ERROR  # until acknowledged
        await self.acknowledge()
        await self.good_run()


case = case_of(System)


def fetches(net: Network) -> list[tuple[int, int]]:
    """(first byte, bytes) in memory of every FETCH."""
    bases = {1: WEIGHTS, 2: INPUT}
    fetched = [i for i in net.schedule.instructions if i.op == Op.FETCH]
    return [(bases[i.region] + i.offset * BYTES, i.words * BYTES) for i in fetched]


@case
async def identity_and_three_networks(system):
    assert await system.read("ID") == R["MAGIC"]
    assert await system.read("VERSION") == R["INTERFACE_VERSION"]
    assert await system.read("HASH_LO") == HASH & 0xFFFF_FFFF
    assert await system.read("HASH_HI") == HASH >> 32
    assert await system.read("CONFIG") == SMALL.ports
    for name, pause in ((SHORT, 0.0), ("wide_terms", 0.2), ("elementwise", 0.5), (SHORT, 0.8)):
        system.back_pressure(pause)
        await system.good_run(name)


@case
async def interrupt_is_optional_and_kept(system):
    """Disabled: polling; enabled later it rises for the run that is over."""
    net = network(SHORT)
    await system.load(net)
    await system.write("CONTROL", R["CONTROL_START_MASK"])
    while await system.read("STATUS") & BUSY:
        assert system.dut.interrupt.value == 0
    await cycles(system.dut, 20)
    assert system.dut.interrupt.value == 0
    await system.write("CONTROL", IRQ_ENABLE)
    assert await system.interrupt() == DONE
    await system.check_results(net)
    await system.acknowledge()


@case
async def layer_log(system):
    """Entry k is the cycle in which instruction k was started."""
    await system.good_run()
    started = [i for i in network(SHORT).schedule.instructions if i.op not in DECODER_OPS]
    assert await system.read("LAYER_INDEX") == len(started)
    log = []
    for index in range(len(started)):
        await system.write("LAYER_SELECT", index)
        log.append(await system.read("LAYER_START"))
    assert log == sorted(set(log))
    assert 0 < log[0]
    assert log[-1] < await system.read("CYCLES")
    busy, pool = await system.read("BUSY"), network(SHORT).schedule.instructions
    conv = next(i for i in pool if i.op == Op.CONV)
    groups = conv.n_tiles * (conv.tile_groups - 1) + conv.long_tiles
    assert busy == conv.n_groups * conv.slots * groups


@case
async def read_error(system):
    """In the middle of the program, the input and the weights."""
    net = network(SHORT)
    middles = [(PROGRAM, len(net.frame.program)), *fetches(net)]
    for base, length in middles:
        await system.load(net)
        address = base + length // 2 // BYTES * BYTES
        system.memory.bad = range(address, address + BYTES)
        await system.start()
        await system.expect_error(ErrorCode.READ_RESPONSE, 2 << 4)


@case
async def write_error(system):
    net = network(SHORT)
    await system.load(net)
    system.memory.bad = range(OUTPUT, OUTPUT + BYTES)
    await system.start()
    await system.expect_error(ErrorCode.WRITE_RESPONSE, 2 << 4)


@case
async def windows(system):
    """The last beat of the weights, of the input, of the output lies outside."""
    net = network(SHORT)
    ends = [[b + n for b, n in fetches(net) if b // INPUT == k] for k in range(2)]
    stores = [i for i in net.schedule.instructions if i.op == Op.STORE]
    write_end = OUTPUT + max(i.offset * BYTES + i.words * SMALL.in_channels for i in stores)
    for name, limit, info in (
        ("READ_WINDOW0_LIMIT_LO", max(ends[0]) - BYTES, 0),
        ("READ_WINDOW1_LIMIT_LO", max(ends[1]) - BYTES, 0),
        ("WRITE_WINDOW_LIMIT_LO", write_end - BYTES, 15),
    ):
        await system.load(net)
        await system.write(name, limit)
        await system.start()
        await system.expect_error(ErrorCode.ADDRESS_WINDOW, info)


@case
async def no_way_from_reading_to_writing(system):
    """Where may be read cannot be written, and the other way round; nothing is changed."""
    net = network(SHORT)
    for region, address, info in (
        ("OUTPUT", PROGRAM, 15), ("OUTPUT", WEIGHTS, 15), ("OUTPUT", INPUT, 15),
        ("INPUT", OUTPUT, 0), ("WEIGHTS", OUTPUT, 0), ("PROGRAM", OUTPUT, 0),
    ):  # fmt: skip
        await system.load(net)
        await system.write(f"{region}_LO", address)
        await system.start()
        status = await system.interrupt()
        assert ErrorCode(status >> 8 & 0xFF) is ErrorCode.ADDRESS_WINDOW
        assert status >> 16 == info
        await system.settled()
        assert await system.memory.read(0, SIZE) == system.image
        await system.acknowledge()
    await system.good_run()


@case
async def run_limit(system):
    """A run that goes on is ended all the same; one that is in time is not."""
    net = network(SHORT)
    await system.good_run()
    enough = await system.read("CYCLES") * 2  # pauses are random
    for limit, good in ((enough, True), (300, False), (enough, True)):
        await system.load(net)
        await system.write("RUN_LIMIT", limit)
        await system.start()
        if good:
            assert await system.interrupt() == DONE
            await system.check_results(net)
            await system.acknowledge()
            continue
        status = await system.interrupt()
        assert ErrorCode(status >> 8 & 0xFF) is ErrorCode.RUN_LIMIT
        await system.settled()
        assert limit <= await system.read("CYCLES") < limit + 10
        await system.acknowledge()
    await system.write("RUN_LIMIT", 0)


@case
async def watchdog(system):
    """Memory that stops answering, for reads and for write responses."""
    for channel in (system.readers[0].r_channel, system.writer.b_channel):
        await system.load(network(SHORT))
        await system.start()
        await cycles(system.dut, 60)  # not all is read by then
        channel.clear_pause_generator()
        channel.pause = True
        status = await system.interrupt()
        assert status & (ERROR | DONE | BUSY | DRAINING) == ERROR | DRAINING
        assert ErrorCode(status >> 8 & 0xFF) is ErrorCode.WATCHDOG
        await cycles(system.dut, 300)
        assert await system.read("STATUS") & DRAINING  # transfers are outstanding
        await system.start()  # ignored
        channel.pause = False
        await system.settled()
        assert await system.read("STATUS") & (ERROR | BUSY) == ERROR
        system.back_pressure(0.3)
        await system.acknowledge()
        await system.good_run()


@case
async def bad_opcode(system):
    """In place of the last instruction but one."""
    net = network(SHORT)
    words = np.frombuffer(net.frame.program, "<u8").copy()
    instructions = net.schedule.instructions
    at = sum(len(i.encode()) for i in instructions[:-2])
    words[at] = int(words[at]) & ~0xF | 9
    await system.load(net, program=words.tobytes())
    await system.start()
    started = sum(i.op not in DECODER_OPS for i in instructions[:-2])
    await system.expect_error(ErrorCode.BAD_INSTRUCTION, started)


@case
async def truncated_program(system):
    """Without its last instructions."""
    net = network(SHORT)
    at = sum(len(i.encode()) for i in net.schedule.instructions[:-2])
    await system.load(net)
    await system.write("PROGRAM_WORDS", at // 2)
    await system.start()
    await system.expect_error(ErrorCode.PROGRAM_OVERFLOW)


@case
async def empty_program(system):
    await system.load(network(SHORT))
    await system.write("PROGRAM_WORDS", 0)
    await system.start()
    await system.expect_error(ErrorCode.BAD_INSTRUCTION, 0)


@case
async def soft_reset(system):
    """While program, input and weights are read, while it computes, while it stores."""
    for moment in (30, 130, 300, 600, 900):
        await system.load(network(SHORT))
        await system.start()
        await cycles(system.dut, moment)
        await system.write("CONTROL", R["CONTROL_SOFT_RESET_MASK"] | IRQ_ENABLE)
        await system.settled()
        assert await system.read("STATUS") == 0
        assert system.dut.interrupt.value == 0
        await system.good_run()


@case
async def start_while_busy(system):
    """A second start command does nothing, and what ends is still the first run."""
    net = network(SHORT)
    await system.load(net)
    await system.write("FRAME", 0x1234_5678)
    await system.start()
    for other in range(4):
        await cycles(system.dut, 60)
        await system.write("FRAME", other)
        await system.start()
        assert await system.read("STATUS") == BUSY
        assert await system.read("FRAME_RUN") == 0x1234_5678
    assert await system.interrupt() == DONE
    assert await system.read("FRAME_RUN") == 0x1234_5678
    await system.check_results(net)
    await system.acknowledge()
    await cycles(system.dut, 200)
    assert await system.read("STATUS") == 0
