"""Verilog designs that exercise the simulation shell, and what to set in them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from fpga_gen.contract.params import EngineParams
from fpga_gen.simulate.device import SimulatedBuffer, SimulatedDevice
from fpga_gen.simulate.dram import DramConfig
from fpga_gen_host import registers

COPY_ENGINE = Path(__file__).with_name("copy_engine.v")
MODES = {
    name: int(value)
    for name, value in re.findall(r"`define MODE_(\w+) (\d+)", COPY_ENGINE.read_text())
}
ONE_PORT = EngineParams(ports=1)
FOUR_PORTS = EngineParams(ports=4)
IDEAL = DramConfig(
    size=16 << 20, sustained=1.0, burst_overhead=0, refresh_interval=0, refresh_length=0
)  # 64 bytes every cycle
START = 0b101  # CONTROL: start, irq_enable


def register_file(folder: Path) -> Path:
    """The register table as Verilog macros, to be given before the design."""
    path = folder / "registers.v"
    path.write_text(
        f"`define INTERFACE_VERSION {registers.INTERFACE_VERSION}\n"
        + "".join(f"`define REG_{r.name} 12'h{r.offset:x}\n" for r in registers.REGISTERS)
    )
    return path


def readers(folder: Path, ports: int) -> Path:
    """A top with `ports` readers: each reads PROGRAM_WORDS beats, 1 MiB after the one before."""
    pins, body = [], []
    for k in range(ports):
        p = f"m_axi_{k}"
        pins.append(
            f"output [39:0] {p}_araddr, output [7:0] {p}_arlen, output [2:0] {p}_arsize, "
            f"output [1:0] {p}_arburst, output {p}_arvalid, input {p}_arready, "
            f"input [127:0] {p}_rdata, input [1:0] {p}_rresp, input {p}_rlast, "
            f"input {p}_rvalid, output {p}_rready,"
        )
        body.append(
            f"wire have_{k}; wire [23:0] got_{k}; wire [127:0] data_{k};\n"
            f"reader r{k} (.clk(clk), .rst(rst), .start(start), .base(base + 40'd{k << 20}),"
            f".beats(beats), .burst(burst), .mode(0), .take(have_{k}), .arvalid({p}_arvalid),"
            f".araddr({p}_araddr), .arlen({p}_arlen), .arready({p}_arready),"
            f".rvalid({p}_rvalid), .rdata({p}_rdata), .rready({p}_rready), .have(have_{k}),"
            f".data(data_{k}), .received(got_{k}));\n"
            f"assign {p}_arsize = 4; assign {p}_arburst = 1; assign {p}_rready = 1;"
        )
    finished = " && ".join(f"got_{k} == beats" for k in range(ports))
    path = folder / f"readers_{ports}.v"
    newline = "\n"
    path.write_text(f"""
module fpga_gen_top(input clk, input rst, output interrupt, {newline.join(pins)}
    output [39:0] m_axi_0_awaddr, output [7:0] m_axi_0_awlen, output [2:0] m_axi_0_awsize,
    output [1:0] m_axi_0_awburst, output m_axi_0_awvalid, input m_axi_0_awready,
    output [127:0] m_axi_0_wdata, output [15:0] m_axi_0_wstrb, output m_axi_0_wlast,
    output m_axi_0_wvalid, input m_axi_0_wready, input [1:0] m_axi_0_bresp,
    input m_axi_0_bvalid, output m_axi_0_bready,
    input [11:0] s_axi_awaddr, input s_axi_awvalid, output s_axi_awready,
    input [31:0] s_axi_wdata, input [3:0] s_axi_wstrb, input s_axi_wvalid, output s_axi_wready,
    output [1:0] s_axi_bresp, output reg s_axi_bvalid, input s_axi_bready,
    input [11:0] s_axi_araddr, input s_axi_arvalid, output s_axi_arready,
    output reg [31:0] s_axi_rdata, output [1:0] s_axi_rresp, output reg s_axi_rvalid,
    input s_axi_rready);
  reg [39:0] base; reg [23:0] beats; reg [8:0] burst; reg start, running; reg [31:0] cycles;
  assign m_axi_0_awaddr = 0, m_axi_0_awlen = 0, m_axi_0_awsize = 4, m_axi_0_awburst = 1;
  assign m_axi_0_awvalid = 0, m_axi_0_wdata = 0, m_axi_0_wstrb = 0, m_axi_0_wlast = 0;
  assign m_axi_0_wvalid = 0, m_axi_0_bready = 1, s_axi_bresp = 0, s_axi_rresp = 0;
  wire put = s_axi_awvalid && s_axi_wvalid && !s_axi_bvalid;
  wire get = s_axi_arvalid && !s_axi_rvalid;
  assign s_axi_awready = put, s_axi_wready = put, s_axi_arready = get;
  wire finished = {finished};
  assign interrupt = running && !start && finished;
  always @(posedge clk) begin
    start <= 0;
    if (put) begin
      s_axi_bvalid <= 1;
      case (s_axi_awaddr)
        `REG_CONTROL: begin start <= 1; running <= 1; cycles <= 0; end
        `REG_INPUT_LO: base[31:0] <= s_axi_wdata;
        `REG_INPUT_HI: base[39:32] <= s_axi_wdata[7:0];
        `REG_PROGRAM_WORDS: beats <= s_axi_wdata[23:0];
        `REG_LAYER_SELECT: burst <= s_axi_wdata[8:0];
        default: ;
      endcase
    end else if (s_axi_bready) s_axi_bvalid <= 0;
    if (get) begin s_axi_rvalid <= 1; s_axi_rdata <= cycles; end
    else if (s_axi_rready) s_axi_rvalid <= 0;
    if (running && !start && !finished) cycles <= cycles + 1;
    if (rst) begin
      s_axi_bvalid <= 0; s_axi_rvalid <= 0; running <= 0; start <= 0; beats <= 0;
    end
  end
{newline.join(body)}
endmodule
""")
    return path


def start_copy(
    device: SimulatedDevice, beats: int, *, mode: str = "NONE", burst: int = 16, skew: int = 0
) -> tuple[SimulatedBuffer, SimulatedBuffer]:
    """Start the copy engine on random bytes (seed 7); `skew` moves its source. Buffers in, out."""
    source, target = device.allocate(16 * beats + skew), device.allocate(16 * beats)
    source.array[:] = np.random.default_rng(7).integers(0, 256, source.array.size, np.uint8)
    device.write_address("INPUT", source.device_address + skew)
    device.write_address("OUTPUT", target.device_address)
    device.write_register("PROGRAM_WORDS", beats)
    device.write_register("LAYER_SELECT", burst)
    device.write_register("WATCHDOG", MODES[mode])
    device.write_register("CONTROL", START)
    return source, target


def read_cycles(
    library: Path, params: EngineParams, dram: DramConfig, beats: int, burst: int = 16
) -> int:
    """Cycles in which every port of a `readers` design reads `beats` beats, from its start."""
    with SimulatedDevice(library, params, dram) as device:
        device.write_address("INPUT", dram.base)
        device.write_register("PROGRAM_WORDS", beats)
        device.write_register("LAYER_SELECT", burst)
        device.write_register("CONTROL", START)
        device.run_to_interrupt(1_000_000)
        return device.read_register("CYCLES")
