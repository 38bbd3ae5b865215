// Block RAMs of the 7 series and of UltraScale+ for simulation of mapped netlists: what UG473, UG573
// and the mapping files of Yosys say of them, as far as these use it. Contents are noise at the
// start. A row that one port reads while the other writes it is old data in the mode READ_FIRST and
// noise in the others. Output registers, ECC and cascades are not there.

module block_ram #(
    parameter ADDRESS = 14,           // bits of the address of a single bit
    parameter HALF = 16,              // data bits of one port
    parameter RW_A = 0, WW_A = 0, RW_B = 0, WW_B = 0,
    parameter MODE_A = "WRITE_FIRST", MODE_B = "WRITE_FIRST",
    parameter [71:0] SRVAL_A = 0, SRVAL_B = 0
) (
    input clk_a, clk_b, en_a, en_b, rst_a, rst_b,
    input [ADDRESS-1:0] addr_a, addr_b,
    input [HALF/8-1:0] we_a,
    input [HALF/4-1:0] we_b,
    input [HALF-1:0] di_a, di_b,
    input [HALF/8-1:0] dip_a, dip_b,
    output [HALF-1:0] do_a, do_b,
    output [HALF/8-1:0] dop_a, dop_b
);
    localparam BYTES = 1 << (ADDRESS - 3);
    localparam WIDE = HALF * 2 + HALF / 4;  // of both halves with parity: simple dual port
    reg [8:0] mem [0:BYTES-1];
    integer i;
    initial for (i = 0; i < BYTES; i = i + 1) mem[i] = $urandom;

    // A word of W bits at a bit address, aligned: nine bits a byte, or less than a byte.
    function [71:0] fetch(input integer width, input [ADDRESS-1:0] at);
        integer k, base;
        begin
            fetch = 0;
            if (width < 9)
                fetch = ({63'b0, mem[at >> 3]} >> (at[2:0] & ~(width[2:0] - 3'd1)))
                    & ((72'd1 << width) - 1);
            else begin
                base = (at >> 3) & ~(width / 9 - 1);
                for (k = 0; k < width / 9; k = k + 1) fetch[9*k+:9] = mem[base+k];
            end
        end
    endfunction

    task store(input integer width, input [ADDRESS-1:0] at, input [7:0] enable,
               input [71:0] value);
        integer k, base;
        reg [8:0] bits;
        reg [2:0] low;
        begin
            if (width < 9) begin
                if (enable[0]) begin
                    low = at[2:0] & ~(width[2:0] - 3'd1);
                    bits = ((9'd1 << width) - 9'd1) << low;
                    mem[at >> 3] <= (mem[at >> 3] & ~bits) | ((value[8:0] << low) & bits);
                end
            end else begin
                base = (at >> 3) & ~(width / 9 - 1);
                for (k = 0; k < width / 9; k = k + 1)
                    if (enable[k]) mem[base+k] <= value[9*k+:9];
            end
        end
    endtask

    // Bytes of the data pins, each with its parity bit, low half first.
    function [71:0] join_bits(input [63:0] data, input [7:0] parity);
        integer k;
        for (k = 0; k < 8; k = k + 1) join_bits[9*k+:9] = {parity[k], data[8*k+:8]};
    endfunction

    // Whether two accesses meet in a byte.
    function meets(input integer wa, input [ADDRESS-1:0] a, input integer wb,
                   input [ADDRESS-1:0] b);
        integer la, lb;
        begin
            la = wa < 9 ? 1 : wa / 9;
            lb = wb < 9 ? 1 : wb / 9;
            meets = ((a >> 3) & ~(la - 1) & ~(lb - 1)) == ((b >> 3) & ~(la - 1) & ~(lb - 1));
        end
    endfunction

    wire wide_write = WW_B > HALF + HALF / 8, wide_read = RW_A > HALF + HALF / 8;
    wire [63:0] data_a = di_a;
    wire [63:0] data_b = wide_write ? {di_b, di_a} : {di_b};
    wire [7:0] parity_a = dip_a;
    wire [7:0] parity_b = wide_write ? {dip_b, dip_a} : {dip_b};
    wire [71:0] in_a = join_bits(data_a, parity_a), in_b = join_bits(data_b, parity_b);
    wire [7:0] lanes_a = we_a, lanes_b = we_b;
    wire write_a = en_a && WW_A != 0 && |lanes_a, write_b = en_b && WW_B != 0 && |lanes_b;
    wire clash_a = write_b && MODE_B != "READ_FIRST" && meets(RW_A, addr_a, WW_B, addr_b);
    wire clash_b = write_a && MODE_A != "READ_FIRST" && meets(RW_B, addr_b, WW_A, addr_a);

    reg [71:0] out_a = 0, out_b = 0;
    always @(posedge clk_a) begin
        if (write_a) store(WW_A, addr_a, lanes_a, in_a);
        if (en_a && RW_A != 0) begin
            if (rst_a) out_a <= SRVAL_A;
            else if (write_a && MODE_A == "WRITE_FIRST") out_a <= in_a;
            else if (!write_a || MODE_A == "READ_FIRST")
                out_a <= fetch(RW_A, addr_a) ^ {72{clash_a}};
        end
    end
    always @(posedge clk_b) begin
        if (write_b) store(WW_B, addr_b, lanes_b, in_b);
        if (en_b && RW_B != 0) begin
            if (rst_b) out_b <= SRVAL_B;
            else if (write_b && MODE_B == "WRITE_FIRST") out_b <= in_b;
            else if (!write_b || MODE_B == "READ_FIRST")
                out_b <= fetch(RW_B, addr_b) ^ {72{clash_b}};
        end
    end
    wire [63:0] from_a, from_b;
    wire [7:0] parity_from_a, parity_from_b;
    genvar g;
    generate
        for (g = 0; g < 8; g = g + 1) begin
            assign {parity_from_a[g], from_a[8*g+:8]} = out_a[9*g+:9];
            assign {parity_from_b[g], from_b[8*g+:8]} = out_b[9*g+:9];
        end
    endgenerate
    assign do_a = from_a[HALF-1:0];
    assign dop_a = parity_from_a[HALF/8-1:0];
    assign do_b = wide_read ? from_a[2*HALF-1:HALF] : from_b[HALF-1:0];
    assign dop_b = wide_read ? parity_from_a[HALF/4-1:HALF/8] : parity_from_b[HALF/8-1:0];

    // What is not there must not be asked for: a byte with parity that is written or read whole
    // where its own word has another width, and registers.
    initial
        if ((MODE_A == "WRITE_FIRST" && WW_A != 0 && RW_A != 0 && RW_A != WW_A)
            || (MODE_B == "WRITE_FIRST" && WW_B != 0 && RW_B != 0 && RW_B != WW_B)
            || (WW_A > HALF + HALF / 8) || (RW_B > HALF + HALF / 8))
            $fatal(1, "block_ram: no model of these widths");
endmodule

module URAM288 #(
    parameter BWE_MODE_A = "PARITY_INTERLEAVED", BWE_MODE_B = "PARITY_INTERLEAVED",
    parameter EN_AUTO_SLEEP_MODE = "FALSE", IREG_PRE_A = "FALSE", IREG_PRE_B = "FALSE",
    parameter OREG_A = "FALSE", OREG_B = "FALSE", RST_MODE_A = "SYNC", RST_MODE_B = "SYNC",
    parameter IS_CLK_INVERTED = 0
) (
    input CLK, SLEEP, EN_A, EN_B, RDB_WR_A, RDB_WR_B, RST_A, RST_B,
    input INJECT_DBITERR_A, INJECT_SBITERR_A, INJECT_DBITERR_B, INJECT_SBITERR_B,
    input [22:0] ADDR_A, ADDR_B,
    input [8:0] BWE_A, BWE_B,
    input [71:0] DIN_A, DIN_B,
    output reg [71:0] DOUT_A = 0, DOUT_B = 0
);
    reg [71:0] mem [0:4095];
    integer i;
    initial for (i = 0; i < 4096; i = i + 1) mem[i] = {$urandom, $urandom, $urandom};

    function [71:0] bits(input interleaved, input [8:0] enable);
        integer k;
        for (k = 0; k < 8; k = k + 1) begin
            bits[8*k+:8] = {8{enable[k]}};
            bits[64+k] = interleaved ? enable[k] : enable[8];
        end
    endfunction

    // Port A comes first, B sees what it wrote.
    reg [71:0] row;
    always @(posedge CLK) begin
        if (EN_A) begin
            row = bits(BWE_MODE_A == "PARITY_INTERLEAVED", BWE_A);
            if (RDB_WR_A) mem[ADDR_A[11:0]] = (mem[ADDR_A[11:0]] & ~row) | (DIN_A & row);
            else DOUT_A <= mem[ADDR_A[11:0]];
        end
        if (RST_A) DOUT_A <= 0;
        if (EN_B) begin
            row = bits(BWE_MODE_B == "PARITY_INTERLEAVED", BWE_B);
            if (RDB_WR_B) mem[ADDR_B[11:0]] = (mem[ADDR_B[11:0]] & ~row) | (DIN_B & row);
            else DOUT_B <= mem[ADDR_B[11:0]];
        end
        if (RST_B) DOUT_B <= 0;
    end
    initial
        if (OREG_A != "FALSE" || OREG_B != "FALSE" || IREG_PRE_A != "FALSE"
            || IREG_PRE_B != "FALSE" || IS_CLK_INVERTED != 0)
            $fatal(1, "URAM288: no model of its registers");
endmodule
