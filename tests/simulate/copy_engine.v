// A small design with the pins of an accelerator, to test the simulation shell without one.
//
// On start it copies PROGRAM_WORDS beats of 16 bytes from INPUT to OUTPUT, inverted, in bursts of
// LAYER_SELECT beats (0: 16). WATCHDOG selects a misbehaviour (see the localparams); LAYER_INDEX and
// debug_layer count finished write bursts. REG_* come from the register table of the product.
`define MODE_NONE 0
`define MODE_WLAST_EARLY 1
`define MODE_WLAST_NEVER 2
`define MODE_ARADDR_MOVES 3
`define MODE_ARVALID_DROPS 4
`define MODE_WDATA_MOVES 5
`define MODE_NARROW 6
`define MODE_FIXED 7
`define MODE_UNALIGNED 8
`define MODE_LITE_UNSTABLE 9
`define MODE_NO_WRITE 10
`define MODE_LITE_EARLY 11
`define MODE_LITE_DEAD 12

// Reads `beats` beats as fast as the port gives them, never with more than `ROOM` on the way.
module reader #(parameter ROOM = 512) (
    input clk, input rst, input start, input [39:0] base, input [23:0] beats, input [8:0] burst,
    input [7:0] mode, input take,
    output reg arvalid, output [39:0] araddr, output [7:0] arlen, input arready,
    input rvalid, input [127:0] rdata, input rready,
    output have, output [127:0] data, output reg [23:0] received
);
  reg [39:0] address;
  reg [23:0] left, taken;
  reg [23:0] asked;
  reg late;
  reg [127:0] mem[0:ROOM-1];
  wire [8:0] now = left < {15'd0, burst} ? left[8:0] : burst;
  wire [8:0] len = now - 9'd1;
  assign araddr = address + (mode == `MODE_ARADDR_MOVES && late ? 40'd16 : 40'd0)
                  + (mode == `MODE_UNALIGNED ? 40'd4 : 40'd0);
  assign arlen = len[7:0];
  assign have = received != taken;
  assign data = ~mem[taken[$clog2(ROOM)-1:0]];
  wire room = asked + {15'd0, now} - taken <= ROOM;
  always @(posedge clk) begin
    late <= arvalid && !arready;
    if (start) begin
      address <= base; left <= beats; received <= 0; taken <= 0; asked <= 0; arvalid <= 0;
    end else begin
      if (arvalid && arready) begin
        address <= address + {27'd0, now, 4'd0};
        left <= left - {15'd0, now};
        asked <= asked + {15'd0, now};
        arvalid <= 0;
      end else if (arvalid) begin
        if (mode == `MODE_ARVALID_DROPS && late) arvalid <= 0;
      end else if (left != 0 && room) arvalid <= 1;
      if (rvalid && rready) begin
        mem[received[$clog2(ROOM)-1:0]] <= rdata;
        received <= received + 1;
      end
      if (take) taken <= taken + 1;
    end
    if (rst) begin arvalid <= 0; left <= 0; received <= 0; taken <= 0; asked <= 0; end
  end
endmodule

// A memory whose contents the shell can read.
module fpga_gen_bank(input clk, input write, input [3:0] row, input [31:0] data,
                     output reg [31:0] last);
  reg [31:0] mem[0:15];
  always @(posedge clk) begin
    if (write) mem[row] <= data;
    last <= mem[row];
  end
endmodule

module fpga_gen_top #(parameter RESET_BUG = 0) (
    input clk, input rst, output interrupt, output reg [15:0] debug_layer,
    output [39:0] m_axi_0_araddr, output [7:0] m_axi_0_arlen, output [2:0] m_axi_0_arsize,
    output [1:0] m_axi_0_arburst, output m_axi_0_arvalid, input m_axi_0_arready,
    input [127:0] m_axi_0_rdata, input [1:0] m_axi_0_rresp, input m_axi_0_rlast,
    input m_axi_0_rvalid, output m_axi_0_rready,
    output reg [39:0] m_axi_0_awaddr, output [7:0] m_axi_0_awlen, output [2:0] m_axi_0_awsize,
    output [1:0] m_axi_0_awburst, output m_axi_0_awvalid, input m_axi_0_awready,
    output [127:0] m_axi_0_wdata, output [15:0] m_axi_0_wstrb, output m_axi_0_wlast,
    output m_axi_0_wvalid, input m_axi_0_wready,
    input [1:0] m_axi_0_bresp, input m_axi_0_bvalid, output m_axi_0_bready,
    input [11:0] s_axi_awaddr, input s_axi_awvalid, output s_axi_awready,
    input [31:0] s_axi_wdata, input [3:0] s_axi_wstrb, input s_axi_wvalid, output s_axi_wready,
    output [1:0] s_axi_bresp, output reg s_axi_bvalid, input s_axi_bready,
    input [11:0] s_axi_araddr, input s_axi_arvalid, output s_axi_arready,
    output [31:0] s_axi_rdata, output [1:0] s_axi_rresp, output reg s_axi_rvalid,
    input s_axi_rready
);
  // --- registers -----------------------------------------------------------------------------
  reg [31:0] store[0:63];
  reg busy, done, error, irq_enable;
  reg [7:0] code;
  reg [31:0] cycles, read_beats, write_beats, answer;
  wire [7:0] mode = store[`REG_WATCHDOG / 4][7:0];
  wire [8:0] burst = store[`REG_LAYER_SELECT / 4][8:0] == 0 ? 9'd16
                     : store[`REG_LAYER_SELECT / 4][8:0];
  wire [23:0] beats = store[`REG_PROGRAM_WORDS / 4][23:0];
  wire write_now = s_axi_awvalid && s_axi_wvalid && !s_axi_bvalid;
  wire read_now = s_axi_arvalid && !s_axi_rvalid && mode != `MODE_LITE_DEAD;
  assign s_axi_awready = write_now && !(mode == `MODE_LITE_EARLY);
  assign s_axi_wready = s_axi_awready;
  assign s_axi_arready = read_now;
  assign s_axi_bresp = s_axi_awaddr == `REG_LAYER_START ? 2'd2 : 2'd0;
  assign s_axi_rresp = s_axi_araddr == `REG_LAYER_START ? 2'd2 : 2'd0;
  assign s_axi_rdata = mode == `MODE_LITE_UNSTABLE ? answer + cycles : answer;
  assign interrupt = irq_enable && (done || error);
  wire start = write_now && s_axi_awaddr == `REG_CONTROL && s_axi_wdata[0] && !busy;
  wire soft_reset = write_now && s_axi_awaddr == `REG_CONTROL && s_axi_wdata[1];
  wire finish;
  integer i;
  always @(posedge clk) begin
    if (write_now) begin
      store[s_axi_awaddr[7:2]] <= s_axi_wdata;
      s_axi_bvalid <= 1;
      if (s_axi_awaddr == `REG_CONTROL) irq_enable <= s_axi_wdata[2];
      if (s_axi_awaddr == `REG_STATUS && s_axi_wdata[1]) done <= 0;
      if (s_axi_awaddr == `REG_STATUS && s_axi_wdata[2]) error <= 0;
    end else if (s_axi_bready) s_axi_bvalid <= 0;
    if (read_now) begin
      s_axi_rvalid <= 1;
      case (s_axi_araddr)
        `REG_ID: answer <= 32'h46504741;
        `REG_VERSION: answer <= `INTERFACE_VERSION;
        `REG_CONFIG: answer <= 1;
        `REG_STATUS: answer <= {16'd0, code, 5'd0, error, done, busy};
        `REG_CYCLES: answer <= cycles;
        `REG_READ_BEATS_0: answer <= read_beats;
        `REG_WRITE_BEATS: answer <= write_beats;
        `REG_LAYER_INDEX: answer <= {16'd0, debug_layer};
        default: answer <= store[s_axi_araddr[7:2]];
      endcase
    end else if (s_axi_rready) s_axi_rvalid <= 0;
    if (busy) cycles <= cycles + 1;
    if (m_axi_0_rvalid && m_axi_0_rready && busy) read_beats <= read_beats + 1;
    if (m_axi_0_wvalid && m_axi_0_wready) write_beats <= write_beats + 1;
    if (start) begin
      busy <= 1; code <= 0; cycles <= 0; read_beats <= 0; write_beats <= 0;
      store[`REG_FRAME_RUN / 4] <= store[`REG_FRAME / 4];
    end else if (busy && m_axi_0_rvalid && m_axi_0_rresp != 0) begin
      busy <= 0; error <= 1; code <= 2;
    end else if (busy && m_axi_0_bvalid && m_axi_0_bresp != 0) begin
      busy <= 0; error <= 1; code <= 3;
    end else if (busy && finish) begin
      busy <= 0; done <= 1;
    end
    if (rst || soft_reset) begin
      busy <= 0; done <= 0; error <= 0; code <= 0;
    end
    if (rst) begin
      s_axi_bvalid <= 0; s_axi_rvalid <= 0; irq_enable <= 0;
      cycles <= 0; read_beats <= 0; write_beats <= 0;
      for (i = 0; i < 64; i = i + 1) store[i] <= 0;
    end
  end

  // --- read side -----------------------------------------------------------------------------
  wire have, ar;
  wire [127:0] data;
  wire [23:0] received;
  wire take = m_axi_0_wvalid && m_axi_0_wready;
  reader source (
      .clk(clk), .rst(rst || soft_reset), .start(start),
      .base({store[`REG_INPUT_HI / 4][7:0], store[`REG_INPUT_LO / 4]}), .beats(beats),
      .burst(burst), .mode(mode), .take(mode == `MODE_NO_WRITE ? have : take),
      .arvalid(ar), .araddr(m_axi_0_araddr), .arlen(m_axi_0_arlen), .arready(m_axi_0_arready),
      .rvalid(m_axi_0_rvalid), .rdata(m_axi_0_rdata), .rready(m_axi_0_rready), .have(have),
      .data(data), .received(received));
  assign m_axi_0_arvalid = ar || (RESET_BUG != 0 && rst);
  assign m_axi_0_arsize = mode == `MODE_NARROW ? 3'd2 : 3'd4;
  assign m_axi_0_arburst = mode == `MODE_FIXED ? 2'd0 : 2'd1;
  assign m_axi_0_rready = 1;

  // --- write side: an address, its beats, the next address -----------------------------------
  reg [23:0] to_send, confirmed, bursts;
  reg [8:0] in_burst;
  reg asked;
  wire [8:0] length = to_send < {15'd0, burst} ? to_send[8:0] : burst;
  wire [8:0] length_less = length - 9'd1;
  wire last = in_burst == 1;
  assign m_axi_0_awlen = length_less[7:0];
  assign m_axi_0_awsize = 3'd4;
  assign m_axi_0_awburst = 2'd1;
  assign m_axi_0_awvalid = asked;
  assign m_axi_0_wvalid = in_burst != 0 && have;
  assign m_axi_0_wdata = mode == `MODE_WDATA_MOVES ? data ^ {96'd0, cycles} : data;
  assign m_axi_0_wstrb = 16'hFFFF;
  assign m_axi_0_wlast = mode == `MODE_WLAST_EARLY ? in_burst == 2
                         : mode == `MODE_WLAST_NEVER ? 1'b0 : last;
  assign m_axi_0_bready = 1;
  assign finish = mode == `MODE_NO_WRITE ? received == beats
                  : to_send == 0 && in_burst == 0 && confirmed == bursts;
  always @(posedge clk) begin
    if (start) begin
      m_axi_0_awaddr <= {store[`REG_OUTPUT_HI / 4][7:0], store[`REG_OUTPUT_LO / 4]};
      to_send <= mode == `MODE_NO_WRITE ? 0 : beats; in_burst <= 0; asked <= 0; confirmed <= 0;
      bursts <= 0; debug_layer <= 0;
    end else begin
      if (asked && m_axi_0_awready) begin
        asked <= 0; in_burst <= length; bursts <= bursts + 1;
        to_send <= to_send - {15'd0, length};
        m_axi_0_awaddr <= m_axi_0_awaddr + {27'd0, length, 4'd0};
      end else if (!asked && to_send != 0 && (in_burst == 0 || (take && last))) asked <= 1;
      if (take) in_burst <= in_burst - 1;
      if (m_axi_0_bvalid) begin
        confirmed <= confirmed + 1;
        debug_layer <= debug_layer + 1;
      end
    end
    if (rst || soft_reset) begin
      to_send <= 0; in_burst <= 0; asked <= 0; confirmed <= 0; bursts <= 0; debug_layer <= 0;
    end
  end

  // --- a banked memory: bank b keeps word b of the last 16 beats -----------------------------
  wire [31:0] kept[0:1];
  genvar b;
  generate
    for (b = 0; b < 2; b = b + 1) begin : banks
      fpga_gen_bank bank (.clk(clk), .write(take), .row(write_beats[3:0]),
                          .data(m_axi_0_wdata[32*b +: 32]), .last(kept[b]));
    end
  endgenerate
endmodule
