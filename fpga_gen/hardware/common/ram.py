"""Simple dual-port RAMs, emitted from one inference template.

Amaranth writes an initial value for every row of a memory, which takes seconds for the large ones
and keeps tools from UltraRAM (it has no initial values); so memories are black boxes with the plain
template below, and `Ram` is their twin for Python simulation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from amaranth.hdl import ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fpga_gen.contract import modules
from fpga_gen.hardware.common.fan_out import LOADS

_HEAD = """\
module {name} (
    input  wire clk,
    input  wire [{a}:0] r_addr,
    output wire [{w}:0] r_data,
    input  wire [{a}:0] w_addr,
    input  wire [{w}:0] w_data,
    input  wire [{e}:0] w_en
);
"""
_TEMPLATE = """\
{head}    (* ram_style = "{style}"{unchecked} *)
    reg [{w}:0] mem [0:{last}];
    reg [{w}:0] read;
    always @(posedge clk) read <= mem[r_addr];
    always @(posedge clk) begin
{write}
    end
{output}
endmodule
"""
# Distributed RAM: addresses are loads of every few bits, so parts have registers of their own in
# front, in modules of their own (tools merge equal address registers of one module's memories); the
# contract is that of the other styles.
_PARTS = """\
{modules}
{head}    reg [{w}:0] word;
    always @(posedge clk) word <= w_data;
{parts}
endmodule
"""
_PART = """\
module {name}_{width} (
    input  wire clk,
    input  wire [{a}:0] r_addr,
    output wire [{high}:0] r_data,
    input  wire [{a}:0] w_addr,
    input  wire [{high}:0] word,
    input  wire w_en
);
    (* ram_style = "distributed" *)
    reg [{high}:0] mem [0:{last}];
    (* keep = "true" *) reg [{a}:0] r_at;
    (* keep = "true" *) reg [{a}:0] w_at;
    (* keep = "true" *) reg write;
    always @(posedge clk) begin
        r_at <= r_addr;
        w_at <= w_addr;
        write <= w_en;
        if (write) mem[w_at] <= word;
    end
    assign r_data = mem[r_at];
endmodule
"""
_PLACE = """\
  {name}_{width} part_{n} (
    .clk(clk), .r_addr(r_addr), .r_data(r_data[{high}:{low}]),
    .w_addr(w_addr), .word(word[{high}:{low}]), .w_en(w_en[{lane}])
  );"""
# A deep UltraRAM is several primitives to a bit, between which a register chooses, a load for every
# bit: one for every LOADS bits, in modules of their own again.
_SLICES = """\
{module}
{head}{parts}
endmodule
"""
_SLICE = """\
  {name}_{width} part_{n} (
    .clk(clk), .r_addr(r_addr), .r_data(r_data[{high}:{low}]),
    .w_addr(w_addr), .w_data(w_data[{high}:{low}]), .w_en(w_en[{last}:{first}])
  );"""
PART_BITS = 126  # nine RAM32M16 of 14 bits, 63 loads of an address bit
_OUTPUT = "    assign r_data = read;"
_OUTPUT_REGISTER = """\
    reg [{w}:0] registered;
    always @(posedge clk) registered <= read;
    assign r_data = registered;"""


@dataclass(frozen=True)
class RamShape:
    """width bits x depth rows; lanes: independently written parts (bytes); style: block,
    distributed or ultra; registered: second read register (as URAM and BRAM have); unchecked: its
    user never relies on a row that is read while it is written."""

    width: int
    depth: int
    style: str
    lanes: int = 1
    registered: bool = False
    unchecked: bool = False

    @property
    def name(self) -> str:
        return f"{modules.RAM}_{self.style}_{self.width}x{self.depth}" + (
            f"_l{self.lanes}" if self.lanes > 1 else ""
        )

    @property
    def address_bits(self) -> int:
        return max((self.depth - 1).bit_length(), 1)

    @property
    def read_latency(self) -> int:
        return 1 + self.registered

    @property
    def signature(self) -> wiring.Signature:
        """r_data is the row of r_addr `read_latency` cycles later, old data on a collision."""
        return wiring.Signature(
            {
                "r_addr": In(self.address_bits),
                "r_data": Out(self.width),
                "w_addr": In(self.address_bits),
                "w_data": In(self.width),
                "w_en": In(self.lanes),
            }
        )

    def verilog(self, name: str = "") -> str:
        part = self.width // self.lanes
        values = {"w": self.width - 1, "a": self.address_bits - 1, "e": self.lanes - 1}
        values |= {"name": name or self.name, "last": self.depth - 1}
        values["head"] = _HEAD.format(**values)
        if self.style == "distributed":
            assert not self.registered
            return self._parts(part, values)
        if self.style == "ultra" and self.width > LOADS:
            return self._slices(values)
        write = "\n".join(
            f"        if (w_en[{i}]) mem[w_addr][{(i + 1) * part - 1}:{i * part}] <= "
            f"w_data[{(i + 1) * part - 1}:{i * part}];"
            for i in range(self.lanes)
        )
        return _TEMPLATE.format(
            style=self.style,
            unchecked=", no_rw_check" if self.unchecked else "",
            write=write,
            output=(_OUTPUT_REGISTER if self.registered else _OUTPUT).format(**values),
            **values,
        )

    def _slices(self, values: dict) -> str:
        """A RAM of parts of LOADS bits, whole lanes each."""
        count = self.width // LOADS
        lanes = self.lanes // count
        assert (count * LOADS, count * lanes) == (self.width, self.lanes)
        places = [
            _SLICE.format(
                n=n, width=LOADS, low=n * LOADS, high=(n + 1) * LOADS - 1,
                first=n * lanes, **{**values, "last": (n + 1) * lanes - 1},
            )
            for n in range(count)
        ]  # fmt: skip
        one = replace(self, width=LOADS, lanes=lanes).verilog(f"{values['name']}_{LOADS}")
        return _SLICES.format(module=one, parts="\n".join(places), **values)

    def _parts(self, lane_bits: int, values: dict) -> str:
        """A distributed RAM of parts, none of which spans two lanes."""
        lows = [
            (lane, low)
            for lane in range(self.lanes)
            for low in range(lane * lane_bits, (lane + 1) * lane_bits, PART_BITS)
        ]
        places, widths = [], set()
        for n, (lane, low) in enumerate(lows):
            high = min(low + PART_BITS, (lane + 1) * lane_bits) - 1
            width = high - low + 1
            widths.add(width)
            bits = {"n": n, "lane": lane, "low": low, "high": high, "width": width}
            places.append(_PLACE.format(**bits, **values))
        modules = [_PART.format(width=w, high=w - 1, **values) for w in sorted(widths)]
        return _PARTS.format(modules="\n".join(modules), parts="\n".join(places), **values)


class Ram(wiring.Component):
    """Twin of the template for Python simulation; members as `RamShape.signature`."""

    def __init__(self, shape: RamShape) -> None:
        self.shape = shape
        super().__init__(shape.signature)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.mem = memory = Memory(shape=self.shape.width, depth=self.shape.depth, init=[])
        read = memory.read_port(transparent_for=())
        write = memory.write_port(granularity=self.shape.width // self.shape.lanes)
        data = read.data
        if self.shape.registered:
            data = Signal(self.shape.width, reset_less=True)
            m.d.sync += data.eq(read.data)
        m.d.comb += [
            read.addr.eq(self.r_addr),
            read.en.eq(1),
            self.r_data.eq(data),
            write.addr.eq(self.w_addr),
            write.data.eq(self.w_data),
            write.en.eq(self.w_en),
        ]
        return m


def place_ram(m: Module, label: str, shape: RamShape, *, expand: bool, name: str = ""):
    """Add a RAM to `m` (the black box `name`, or with `expand` the twin); returns its ports."""
    if expand:
        m.submodules[label] = ram = Ram(shape)
        return ram
    pins = shape.signature.flip().create(path=(label,))
    m.submodules[label] = Instance(
        name or shape.name,
        i_clk=ClockSignal(),
        i_r_addr=pins.r_addr,
        o_r_data=pins.r_data,
        i_w_addr=pins.w_addr,
        i_w_data=pins.w_data,
        i_w_en=pins.w_en,
    )
    return pins
