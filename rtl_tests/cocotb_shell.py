"""Shell with two ports: AXI memories on one side, a scripted engine on the other."""

from __future__ import annotations

import cocotb
from cocotb.triggers import FallingEdge

from fpga_gen_host.registers import ErrorCode
from rtl_tests.cocotb_common import BYTES, Driven, R, case_of, cycles, receive, send

PORTS = 2
PROGRAM, WEIGHTS, INPUT, OUTPUT = 0x11000, 0x20000, 0x30000, 0x50000
READ0, READ1, WRITE = (0x10000, 0x30000), (0x30000, 0x40000), (0x50000, 0x60000)
PROGRAM_WORDS = 6
HASH = 0x1234_5678_CAFE_F00D


def fetch(region: int, offset: int, words: int) -> int:
    return region | offset // BYTES << 2 | words << 34


def store(offset: int, beats: int) -> int:
    return offset // BYTES | beats << 32


class System(Driven):
    """The shell, its memory and its registers."""

    def __init__(self, dut, rng) -> None:
        super().__init__(dut, rng, WRITE[1], PORTS)
        self.image = rng.randbytes(WRITE[1])

    async def set_up(self) -> None:
        await self.memory.write(0, self.image)
        await self.begin(
            0.3,
            reads=(READ0[0], READ1[1]),
            writes=WRITE,
            design_hash=HASH,
            fetch__valid=0,
            words__ready=0,
            store__valid=0,
            store_beats__valid=0,
            status__done=0,
            status__error=0,
            status__progress=0,
            status__count_busy=0,
            status__count_stall_weights=0,
            status__count_stall_drain=0,
            status__count_stall_input=0,
            status__layer_start=0,
        )
        await self.write_addresses(
            PROGRAM=PROGRAM, WEIGHTS=WEIGHTS, INPUT=INPUT, OUTPUT=OUTPUT,
            READ_WINDOW0_BASE=READ0[0], READ_WINDOW0_LIMIT=READ0[1],
            READ_WINDOW1_BASE=READ1[0], READ_WINDOW1_LIMIT=READ1[1],
            WRITE_WINDOW_BASE=WRITE[0], WRITE_WINDOW_LIMIT=WRITE[1],
        )  # fmt: skip
        await self.write("PROGRAM_WORDS", PROGRAM_WORDS)
        await self.write("WATCHDOG", 2000)
        await self.write("CONTROL", R["CONTROL_IRQ_ENABLE_MASK"])

    async def expect_error(self, code: ErrorCode, info: int | None = None) -> None:
        """The run ends with this error, drains, and a whole run succeeds afterwards."""
        status = await self.interrupt()
        assert status & R["STATUS_ERROR_MASK"]
        assert not status & R["STATUS_DONE_MASK"]
        assert not status & R["STATUS_BUSY_MASK"]
        assert status >> 8 & 0xFF == code, ErrorCode(status >> 8 & 0xFF)
        assert info is None or status >> 16 == info
        await self.settled()
        self.memory.bad = range(0)
        await good_run(self)

    def words(self, address: int, words: int) -> list[int]:
        out = []
        for i in range(words):
            beats = [address + (k * words + i) * BYTES for k in range(PORTS)]
            out.append(int.from_bytes(b"".join(self.image[a : a + BYTES] for a in beats), "little"))
        return out


async def pulse(dut, name: str) -> None:
    """A pulse of the engine's status."""
    await FallingEdge(dut.clk)
    getattr(dut, f"status__{name}").value = 1
    await FallingEdge(dut.clk)
    getattr(dut, f"status__{name}").value = 0


async def send_beats(dut, beats, rng, gap: float = 0.3) -> None:
    """Beats of stores, one a cycle as long as there is room."""
    for beat in beats:
        while rng.random() < gap or not dut.store_beats__room.value:
            await FallingEdge(dut.clk)
        dut.store_beats__data.value = beat
        dut.store_beats__valid.value = 1
        await FallingEdge(dut.clk)
        dut.store_beats__valid.value = 0


async def program(system: System) -> None:
    """Start a run and take the program."""
    await system.start()
    got = await receive(system.dut, "words", PROGRAM_WORDS, system.rng)
    assert got == system.words(PROGRAM, PROGRAM_WORDS)


async def good_run(system: System) -> None:
    """Program, 20 words of weights, 9 of input, 75 beats of output: everything is right."""
    dut, rng = system.dut, system.rng
    await program(system)
    orders = [fetch(1, 0x400, 20), fetch(2, 0x80, 9)]
    cocotb.start_soon(send(dut, "fetch", orders, rng))
    await pulse(dut, "layer_start")
    want = system.words(WEIGHTS + 0x400, 20) + system.words(INPUT + 0x80, 9)
    assert await receive(dut, "words", len(want), rng) == want
    await pulse(dut, "layer_start")
    beats = [rng.getrandbits(128) for _ in range(75)]
    cocotb.start_soon(send(dut, "store", [store(0x1F0, 70), store(0x4000, 5)], rng))
    await send_beats(dut, beats, rng)
    for _ in range(11):
        await pulse(dut, "count_busy")
    await pulse(dut, "done")
    status = await system.interrupt()
    assert status == R["STATUS_DONE_MASK"]
    out = b"".join(beat.to_bytes(BYTES, "little") for beat in beats)
    assert await system.memory.read(OUTPUT + 0x1F0, 70 * BYTES) == out[: 70 * BYTES]
    assert await system.memory.read(OUTPUT + 0x4000, 5 * BYTES) == out[70 * BYTES :]
    for k in range(PORTS):
        assert await system.read(f"READ_BEATS_{k}") == PROGRAM_WORDS + 29
    assert await system.read("READ_BEATS_2") == 0
    assert await system.read("WRITE_BEATS") == 75
    assert await system.read("BUSY") == 11
    assert await system.read("LAYER_INDEX") == 2
    starts = []
    for index in range(2):
        await system.write("LAYER_SELECT", index)
        starts.append(await system.read("LAYER_START"))
    cycles_of_run = await system.read("CYCLES")
    assert 0 < starts[0] < starts[1] < cycles_of_run < 4000
    await system.acknowledge()
    assert await system.read("STATUS") == 0
    system.verify()


case = case_of(System)


@case
async def identity(system):
    assert await system.read("ID") == R["MAGIC"]
    assert await system.read("VERSION") == R["INTERFACE_VERSION"]
    assert await system.read("HASH_LO") == HASH & 0xFFFF_FFFF
    assert await system.read("HASH_HI") == HASH >> 32
    assert await system.read("CONFIG") == PORTS
    assert await system.read("STATUS") == 0


@case
async def two_runs(system):
    await good_run(system)
    await good_run(system)


@case
async def start_while_busy_is_ignored(system):
    await program(system)
    await system.start()
    await cycles(system.dut, 60)
    assert system.dut.words__valid.value == 0  # no second program
    assert await system.read("STATUS") == R["STATUS_BUSY_MASK"]
    await pulse(system.dut, "done")
    assert await system.interrupt() == R["STATUS_DONE_MASK"]


@case
async def read_outside_the_windows(system):
    await program(system)
    words = (READ1[1] - INPUT) // BYTES // PORTS  # up to the end: one more is too many
    await send(system.dut, "fetch", [fetch(2, 16, words)], system.rng)
    await system.expect_error(ErrorCode.ADDRESS_WINDOW, PORTS - 1)


@case
async def write_outside_the_windows(system):
    await program(system)
    await send(system.dut, "store", [store(WRITE[1] - OUTPUT, 1)], system.rng)
    await system.expect_error(ErrorCode.ADDRESS_WINDOW, 15)


@case
async def read_of_the_write_window(system):
    await program(system)
    await send(system.dut, "fetch", [fetch(2, WRITE[0] - INPUT, 1)], system.rng)
    await system.expect_error(ErrorCode.ADDRESS_WINDOW, 0)


@case
async def write_to_a_read_window(system):
    """Its data are there: nothing but the window stops it."""
    await program(system)
    await system.write("OUTPUT_LO", WEIGHTS)
    await send_beats(system.dut, range(4), system.rng)
    await send(system.dut, "store", [store(0, 4)], system.rng)
    status = await system.interrupt()
    assert status >> 8 & 0xFF == ErrorCode.ADDRESS_WINDOW
    assert status >> 16 == 15
    await system.settled()
    assert await system.memory.read(0, WRITE[1]) == system.image
    await system.write("OUTPUT_LO", OUTPUT)
    await good_run(system)


@case
async def read_error(system):
    await program(system)
    system.memory.bad = range(WEIGHTS + 30 * BYTES, WEIGHTS + 31 * BYTES)  # port 1 of 20 words
    await send(system.dut, "fetch", [fetch(1, 0, 20)], system.rng)
    await system.expect_error(ErrorCode.READ_RESPONSE, 2 << 4 | 1)


@case
async def write_error(system):
    await program(system)
    system.memory.bad = range(OUTPUT, OUTPUT + 1)
    await send(system.dut, "store", [store(0, 2)], system.rng)
    await send_beats(system.dut, [1, 2], system.rng)
    await system.expect_error(ErrorCode.WRITE_RESPONSE, 2 << 4)


@case
async def error_after_done(system):
    """The last response is an error: the run must not count as done."""
    await program(system)
    system.memory.bad = range(OUTPUT, OUTPUT + 1)
    await send(system.dut, "store", [store(0, 1)], system.rng)
    await send_beats(system.dut, [1], system.rng)
    await pulse(system.dut, "done")
    await system.expect_error(ErrorCode.WRITE_RESPONSE)


@case
async def watchdog(system):
    await program(system)
    for _ in range(3):
        await cycles(system.dut, 1500)
        assert await system.read("STATUS") == R["STATUS_BUSY_MASK"]
        await pulse(system.dut, "progress")
    await system.expect_error(ErrorCode.WATCHDOG)


@case
async def engine_error(system):
    await program(system)
    system.dut.status__error_code.value = ErrorCode.WEIGHT_UNDERRUN
    system.dut.status__error_info.value = 0xBEEF
    await pulse(system.dut, "error")
    await system.expect_error(ErrorCode.WEIGHT_UNDERRUN, 0xBEEF)


@case
async def output_outside_the_read_windows(system):
    await program(system)
    await send(system.dut, "fetch", [fetch(3, 0, 1)], system.rng)
    await system.expect_error(ErrorCode.ADDRESS_WINDOW, 0)


@case
async def empty_program(system):
    await system.write("PROGRAM_WORDS", 0)
    await system.start()
    status = await system.interrupt()
    assert status >> 8 & 0xFF == ErrorCode.BAD_INSTRUCTION


@case
async def soft_reset_in_the_middle(system):
    dut = system.dut
    for wait in (1, 20, 77):
        await program(system)
        await send(dut, "fetch", [fetch(1, 0, 1000), fetch(2, 0, 50)], system.rng)
        cocotb.start_soon(send(dut, "store", [store(0, 100)], system.rng))
        producer = cocotb.start_soon(send_beats(dut, range(80), system.rng, gap=0))
        await cycles(dut, wait)
        await system.write("CONTROL", R["CONTROL_SOFT_RESET_MASK"])
        while not dut.soft_reset.value:
            await cycles(dut, 1)
        producer.cancel()
        dut.store_beats__valid.value = 0
        await system.settled()
        assert await system.read("STATUS") == 0
        await system.write("CONTROL", R["CONTROL_IRQ_ENABLE_MASK"])
        await good_run(system)
