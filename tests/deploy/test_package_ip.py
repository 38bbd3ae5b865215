"""The packaged IP: what the ipx commands made of the Verilog, against the RTL and the driver.

Commands, properties and parameters are looked up in vivado_tables.py.
"""

from __future__ import annotations

import re
from pathlib import Path

from fpga_gen.boards import Board
from fpga_gen.contract.params import MAX_BURST, EngineParams
from fpga_gen.deploy.vivado_project import CONSTRAINTS, TCL_FOLDER
from fpga_gen_host import identity, pynq_device
from fpga_gen_host.registers import ADDRESS_BITS, BUS_BITS, REGISTERS
from tests.deploy import vivado_tables as tables
from tests.deploy.design import FILE, SPACE, Core, Design, option
from tests.deploy.projects import pins
from tests.deploy.tcl import Recording

UNCONNECTED = {"debug_layer"}  # only for tracing in simulation


def test_every_command_and_option_is_known(recording: Recording):
    for command, *arguments in recording.calls:
        assert command in tables.COMMANDS, command
        unknown = {a for a in arguments if re.fullmatch(r"-[a-z_]+", a)} - tables.COMMANDS[command]
        assert not unknown, f"{command}: {unknown}"


def test_every_property_is_known(recording: Recording, core: Core):
    for arguments in recording.of("set_property"):
        if arguments[0] == "-dict":
            continue  # CONFIG, below
        name, value, target = arguments
        kind = kind_of(target, core)
        assert name in tables.PROPERTIES[kind], f"{name} of {kind} {target}"
        if name == "strategy":
            assert value in tables.STRATEGIES


def kind_of(target: str, core: Core) -> str:
    if target.startswith(FILE):
        return "file of the IP"
    fixed = {"project": "project", "sources_1": "fileset", "impl_1": "run", "core": "core"}
    if target in fixed:
        return fixed[target]
    path = target.split("/")
    assert path[0] == "core", target
    if target in core.blocks:
        return "address block"
    if path[1].startswith(SPACE):
        return "address space"
    if len(path) == 3:
        return "port map" if path[2] in core.interfaces[path[1]].maps else "parameter"
    return "interface"


def test_bus_parameters_have_values_they_can_take(core: Core):
    for interface in core.interfaces.values():
        for name, value in interface.parameters.items():
            assert tables.BUS_PARAMETERS[name](value), f"{interface.name}: {name} = {value}"


def test_identity_is_the_one_the_driver_looks_for(core: Core, design: Design):
    vlnv = ":".join(core.identity[k] for k in ("vendor", "library", "name", "version"))
    assert vlnv == identity.VLNV
    assert vlnv in pynq_device.VLNVS
    assert design.cells[identity.CELL][1] == vlnv
    assert identity.INTERRUPT_PIN in core.interfaces


def test_interfaces_hold_every_pin_of_the_verilog_once(engine: EngineParams, core: Core):
    mapped = [pin for i in core.interfaces.values() for pin in i.maps.values()]
    assert len(mapped) == len(set(mapped))
    assert set(mapped) | UNCONNECTED == set(pins(engine))


def test_directions_of_the_pins_suit_the_interfaces(engine: EngineParams, core: Core):
    ways = pins(engine)
    for interface in core.interfaces.values():
        for logical, physical in interface.maps.items():
            if interface.bus == "xilinx.com:interface:aximm:1.0":
                assert logical in tables.AXI_MASTER_DRIVES | tables.AXI_SLAVE_DRIVES
                driven = tables.AXI_MASTER_DRIVES
                out = (logical in driven) == (interface.mode == "master")
                assert physical == f"{interface.name}_{logical.lower()}"
            else:
                out = interface.mode == "master"
                assert physical == (interface.name if logical == "CLK" else logical.lower())
            assert ways[physical] == ("output" if out else "input"), physical


def test_masters_and_slave_are_those_of_the_engine(board: Board, core: Core):
    axi = {n: i for n, i in core.interfaces.items() if "aximm" in i.bus}
    masters = {f"m_axi_{k}" for k in range(board.array.ports)}
    assert {n for n, i in axi.items() if i.mode == "master"} == masters
    assert {n for n, i in axi.items() if i.mode == "slave"} == {"s_axi"}
    for name in masters:
        parameters = axi[name].parameters
        writes = any(logical.startswith("AW") for logical in axi[name].maps)
        assert parameters["READ_WRITE_MODE"] == ("READ_WRITE" if writes else "READ_ONLY")
        assert parameters["MAX_BURST_LENGTH"] == str(MAX_BURST)
        assert parameters["PROTOCOL"] == "AXI4"
        assert axi[name].properties["master_address_space_ref"] == name
        space = core.spaces[name]
        assert (int(space["range"]), int(space["width"])) == (1 << BUS_BITS, 40)
    assert axi["s_axi"].parameters["PROTOCOL"] == "AXI4LITE"


def test_register_block_is_the_register_table(core: Core):
    (path,) = core.blocks
    assert path == "core/s_axi/Reg"
    block = core.blocks[path]
    assert int(block["range"]) == 1 << ADDRESS_BITS == identity.CONTROL_BYTES
    assert max(r.offset for r in REGISTERS) < int(block["range"])
    assert (block["width"], block["usage"]) == ("32", "register")
    assert core.interfaces["s_axi"].properties["slave_memory_map_ref"] == "s_axi"


def test_clock_reset_and_interrupt(core: Core):
    clock = core.interfaces["clk"].parameters
    axi = {n for n, i in core.interfaces.items() if "aximm" in i.bus}
    assert set(clock["ASSOCIATED_BUSIF"].split(":")) == axi
    assert clock["ASSOCIATED_RESET"] == "rst"
    assert core.interfaces["rst"].parameters == {"POLARITY": "ACTIVE_HIGH"}
    assert core.interfaces["interrupt"].parameters == {"SENSITIVITY": "LEVEL_HIGH"}
    kinds = {n: core.interfaces[n].bus for n in ("clk", "rst", "interrupt")}
    assert kinds == {
        "clk": "xilinx.com:signal:clock:1.0",
        "rst": "xilinx.com:signal:reset:1.0",
        "interrupt": "xilinx.com:signal:interrupt:1.0",
    }


def test_second_clock_belongs_to_no_bus(core: Core, engine: EngineParams):
    clocks = {n: i for n, i in core.interfaces.items() if i.bus == "xilinx.com:signal:clock:1.0"}
    assert set(clocks) == ({"clk", "clk_2x"} if engine.double_clock else {"clk"})
    if engine.double_clock:
        assert clocks["clk_2x"].maps == {"CLK": "clk_2x"}
        assert clocks["clk_2x"].parameters == {"FREQ_HZ": ""}


def test_constraints_come_with_the_second_clock_alone(
    recording: Recording, core: Core, engine: EngineParams
):
    wanted = {CONSTRAINTS: {"type": "xdc", "processing_order": "late"}}
    assert core.files == (wanted if engine.double_clock else {})
    for name in core.files:
        (package,) = recording.of("ipx::package_project")
        copied = Path(option(package, "-root_dir") or "") / name
        assert copied.read_bytes() == (TCL_FOLDER / name).read_bytes()
        order = [call[0] for call in recording.calls]
        assert order.index("ipx::add_file") < order.index("ipx::update_checksums")
