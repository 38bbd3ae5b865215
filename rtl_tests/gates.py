"""The netlist that `fpga-gen synth` measures as Verilog, next to the RTL that it was mapped from.

Flip-flops, carry chains, LUT memories and shift registers are the simulation models that come with
Yosys, the multipliers its model of DSP48E1; block RAMs are in gate_cells.v, a LUT is its table.
Every net is one bit, so that a simulator sees no loops where there are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from fpga_gen.contract.modules import TOP
from fpga_gen.contract.params import EngineParams
from fpga_gen.generated import engine_verilog
from fpga_gen.synth.cells import is_primitive
from fpga_gen.synth.modules import Hierarchy, split_modules
from fpga_gen.synth.netlist import Bit, Cell, Netlist
from fpga_gen.synth.yosys import map_modules
from rtl_tests.test_dsp48_double import parts
from rtl_tests.test_mac_dsp import yosys_cells

HERE = Path(__file__).parent
GATES, PAIR = "gates", "pair"  # the netlist's top; the module that holds both
LINT_OFF = "".join(
    f"// verilator lint_off {rule}\n"
    for rule in ("PINMISSING", "WIDTHTRUNC", "WIDTHEXPAND", "SPECIFYIGN", "COMBDLY", "INITIALDLY")
)
LUT = re.compile(r"LUT[1-6]")
PAYLOAD = re.compile(r"(.*_(?:ar|aw|w|r|b))(?!valid|ready)\w+")  # of a channel with a valid
CONTENTS = re.compile(r"INITP?_[0-9A-F]{2}")
NEUTRAL = re.compile(r"IS_\w+_INVERTED|DO[AB]_REG|EN_ECC_\w+")  # must be 0 or FALSE
UNUSED = re.compile(r"INIT_[AB]|RAM_MODE|RAM_EXTENSION_[AB]|SIM_\w+|RDADDR_\w+")
PINS = {  # of block_ram: those of RAMB18E1 and RAMB36E1, and of RAMB18E2 and RAMB36E2
    "clk_a": ("CLKARDCLK",), "clk_b": ("CLKBWRCLK",), "en_a": ("ENARDEN",), "en_b": ("ENBWREN",),
    "rst_a": ("RSTRAMARSTRAM",), "rst_b": ("RSTRAMB",), "addr_a": ("ADDRARDADDR",),
    "addr_b": ("ADDRBWRADDR",), "we_a": ("WEA",), "we_b": ("WEBWE",),
    "di_a": ("DIADI", "DINADIN"), "di_b": ("DIBDI", "DINBDIN"),
    "dip_a": ("DIPADIP", "DINPADINP"), "dip_b": ("DIPBDIP", "DINPBDINP"),
    "do_a": ("DOADO", "DOUTADOUT"), "do_b": ("DOBDO", "DOUTBDOUT"),
    "dop_a": ("DOPADOP", "DOUTPADOUTP"), "dop_b": ("DOPBDOP", "DOUTPBDOUTP"),
}  # fmt: skip


def map_engine(params: EngineParams) -> tuple[Hierarchy, dict[str, Netlist]]:
    """The modules of an engine and their mapped netlists, from the cache where they are there."""
    hierarchy = split_modules(engine_verilog(params))
    return hierarchy, map_modules(hierarchy, params.family)


def write_pair(params: EngineParams, folder: Path) -> list[Path]:
    """Verilog of the module `pair`: an engine as RTL and as gates on the same inputs. The pins are
    those of the RTL.

    Arrays that the simulator shows: `compared` [cycles that were compared, cycles in which an
    output differed, bits: which outputs]; `poke` [1: the gates get another bit 0 of the read data].
    """
    hierarchy, netlists = map_engine(params)
    folder.mkdir(parents=True, exist_ok=True)
    files = dict(engine_verilog(params))
    called = {
        GATES if name == TOP else f"gate_{hierarchy.digests[name]}": netlist
        for name, netlist in netlists.items()
    }
    files["gates.v"] = LINT_OFF + "\n".join(module_text(n, name) for name, n in called.items())
    files["cells.v"] = LINT_OFF + models() + (HERE / "gate_cells.v").read_text()
    files["pair.v"] = pair_text(netlists[TOP])
    files["pair.vlt"] = "`verilator_config\n" + "".join(
        f'public_flat_rd -module "{PAIR}" -var "{name}"\n' for name in ("compared", "poke")
    )
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def models() -> str:
    """Yosys' simulation models, DSP48E2 with them."""
    return yosys_cells() + next(p.model for p in parts() if p.primitive == "DSP48E2")


# --- a netlist as Verilog -------------------------------------------------------------------------
def module_text(netlist: Netlist, name: str) -> str:
    """One mapped module; the modules that it places are called gate_DIGEST."""
    ports = {**netlist.inputs, **netlist.outputs}
    lines = [f"module {name} ({', '.join(_name(p) for p in ports)});"]
    used: set[int] = set()
    body = []
    for port, bits in netlist.inputs.items():
        lines.append(f"  input [{len(bits) - 1}:0] {_name(port)};")
        used.update(b for b in bits if isinstance(b, int))
        body += [f"  assign n{b} = {_name(port)}[{i}];" for i, b in enumerate(bits)]
    for port, bits in netlist.outputs.items():
        lines.append(f"  output [{len(bits) - 1}:0] {_name(port)};")
        body.append(f"  assign {_name(port)} = {_bits(bits)};")
        used.update(b for b in bits if isinstance(b, int))
    for number, cell in enumerate(netlist.cells):
        body.append(cell_text(cell, f"c{number}"))
        used.update(b for bits in cell.pins.values() for b in bits if isinstance(b, int))
    lines += [f"  wire n{net};" for net in sorted(used)]
    return "\n".join([*lines, *body, "endmodule\n"])


def cell_text(cell: Cell, name: str) -> str:
    """One instance; of a LUT its table, a model for each would be ten thousand modules."""
    if LUT.fullmatch(cell.kind):
        inputs = _bits(cell.pins[f"I{i}"][0] for i in range(int(cell.kind[-1])))
        return f"  assign {_bits(cell.pins['O'])} = {_value(cell.parameters['INIT'])} >> {inputs};"
    if cell.kind.startswith("RAMB"):
        return _block_ram(cell, name)
    kind, values = cell.kind, []
    if is_primitive(kind):
        known = _parameters()[kind]
        for key, value in cell.parameters.items():
            if key in known:
                values.append(f".{key}({_value(value)})")
            else:
                assert _is_neutral(key, value), f"{kind}: no model of {key} = {value}"
    else:
        kind = f"gate_{kind.removeprefix('@')}"
    pins = ", ".join(f".{_name(pin)}({_bits(bits)})" for pin, bits in cell.pins.items() if bits)
    return f"  {kind} {f'#({chr(44).join(values)}) ' if values else ''}{name} ({pins});"


def _block_ram(cell: Cell, name: str) -> str:
    """An instance of the model in gate_cells.v."""
    full = cell.kind.startswith("RAMB36")
    width = {key: cell.parameter(f"{way}_WIDTH_{port}") for key, way, port in (
        ("RW_A", "READ", "A"), ("WW_A", "WRITE", "A"),
        ("RW_B", "READ", "B"), ("WW_B", "WRITE", "B"),
    )}  # fmt: skip
    half = 32 if full else 16
    given = cell.parameters
    values = [f".ADDRESS({15 if full else 14})", f".HALF({half})"]
    values += [f".{key}({value})" for key, value in width.items()]
    values += [f".MODE_{p}({_value(given[f'WRITE_MODE_{p}'])})" for p in "AB"]
    if width["RW_A"] > half + half // 8:  # the halves have one each
        low, high = (given.get(f"SRVAL_{p}", "0") for p in "AB")
        values.append(f".SRVAL_A({{{_value(high)}, {_value(low)}}})")
    else:
        values += [f".SRVAL_{p}({_value(given.get(f'SRVAL_{p}', '0'))})" for p in "AB"]
    for key, value in given.items():
        if CONTENTS.fullmatch(key):
            assert not set(str(value)) & {"1"}, f"{cell.name}: has contents"
        elif NEUTRAL.fullmatch(key):
            assert _is_neutral(key, value), f"{cell.kind}: no model of {key} = {value}"
        else:
            assert UNUSED.fullmatch(key) or key.startswith(("READ_WIDTH", "WRITE_", "SRVAL")), key
    pins = []
    for pin, names in PINS.items():
        bits = next((cell.pins[n] for n in names if n in cell.pins), ())
        if pin.startswith("addr"):
            bits = bits[: 15 if full else 14]
        if bits:
            pins.append(f".{pin}({_bits(bits)})")
    return f"  block_ram #({', '.join(values)}) {name} ({', '.join(pins)});"


def _parameters() -> dict[str, set[str]]:
    """Parameters of the models, by module."""
    text = models() + (HERE / "gate_cells.v").read_text()
    if not _KNOWN:
        for module in re.findall(r"^module .*?^endmodule", text, re.M | re.S):
            name = re.match(r"module\s+(\\?\S+?)[\s(#]", module)
            assert name is not None
            declared = " ".join(re.findall(r"parameter\b([^;)]*)", module))
            _KNOWN[name[1]] = set(re.findall(r"(\w+)\s*=", declared))
    return _KNOWN


_KNOWN: dict[str, set[str]] = {}


def _is_neutral(key: str, value: str | int) -> bool:
    return value in ("FALSE", "NONE", "A", "MASK", "PATTERN", "NO_PATDET", "ONE48", "DIRECT") or (
        not str(value).strip("0x")
    )


def _name(name: str) -> str:
    """Escaped: a port may have the name of a keyword."""
    return f"\\{name} "


def _bits(bits: Iterable[Bit]) -> str:
    """A concatenation, highest first; what nobody decided is 0."""
    texts = [f"n{b}" if isinstance(b, int) else f"1'b{'1' if b == '1' else '0'}" for b in bits]
    return "{" + ", ".join(reversed(texts)) + "}"


def _value(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    if re.fullmatch("[01xz]+", value):
        return f"{len(value)}'b{re.sub('[xz]', '0', value)}"
    return f'"{value}"'


# --- both side by side ----------------------------------------------------------------------------
def pair_text(top: Netlist) -> str:
    """The module `pair`; payloads are compared while their channel is valid."""
    ports = {**top.inputs, **top.outputs}
    lines = [f"module {PAIR} ({', '.join(ports)});"]
    lines += [f"  input [{len(b) - 1}:0] {p};" for p, b in top.inputs.items()]
    lines += [f"  output [{len(b) - 1}:0] {p};" for p, b in top.outputs.items()]
    lines += [f"  wire [{len(b) - 1}:0] g_{p};" for p, b in top.outputs.items()]
    lines.append("  reg [63:0] poke [0:0];\n  reg [63:0] compared [0:2];\n  reg armed = 0;")
    lines.append(f"  {TOP} rtl ({', '.join(f'.{p}({p})' for p in ports)});")
    gate = {p: p for p in top.inputs} | {p: f"g_{p}" for p in top.outputs}
    gate["m_axi_0_rdata"] += " ^ poke[0][0]"
    lines.append(f"  {GATES} gates ({', '.join(f'.{p}({s})' for p, s in gate.items())});")
    lines.append(f"  wire [{len(top.outputs) - 1}:0] differs;")
    for number, port in enumerate(top.outputs):
        channel = PAYLOAD.fullmatch(port)
        valid = f"{channel[1]}valid" if channel and f"{channel[1]}valid" in top.outputs else "1'b1"
        lines.append(f"  assign differs[{number}] = {valid} && {port} != g_{port};")
    return "\n".join([*lines, """
  initial begin poke[0] = 0; compared[0] = 0; compared[1] = 0; compared[2] = 0; end
  always @(posedge clk) begin
    armed <= armed | rst;
    if (armed && !rst) begin
      compared[0] <= compared[0] + 1;
      if (|differs) compared[1] <= compared[1] + 1;
      compared[2] <= compared[2] | differs;
    end
  end
endmodule
"""])  # fmt: skip


def which(top: Mapping[str, object], bits: int) -> list[str]:
    """Names of the outputs whose bit is set in `compared[2]`."""
    return [name for number, name in enumerate(top) if bits >> number & 1]
