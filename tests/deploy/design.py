"""A recording of build.tcl -> the packaged IP and the block design it made."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.deploy.tcl import Recording

SPACE = "space:"  # how the recorder's handles of address spaces begin
FILE = "file:"  # and of files added to the IP


@dataclass
class BusInterface:
    """mode: master or slave; bus: VLNV of its kind; maps: {logical: physical pin}."""

    name: str
    mode: str = ""
    bus: str = ""
    maps: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)


@dataclass
class Core:
    """The packaged IP. spaces, blocks, files: properties by name."""

    identity: dict[str, str] = field(default_factory=dict)
    interfaces: dict[str, BusInterface] = field(default_factory=dict)
    spaces: dict[str, dict[str, str]] = field(default_factory=dict)
    blocks: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class Design:
    """cells: {name: (IP's name, its VLNV, CONFIG settings)}; nets: {driver pin: sinks};
    buses: [(one end, other end)]; addresses: [(space, segment, offset, range)], None where the
    segment's own are taken; excluded: [(space, segment)]."""

    cells: dict[str, tuple[str, str, dict[str, str]]] = field(default_factory=dict)
    nets: dict[str, list[str]] = field(default_factory=dict)
    buses: list[tuple[str, str]] = field(default_factory=list)
    addresses: list[tuple[str, str, int | None, int | None]] = field(default_factory=list)
    excluded: list[tuple[str, str]] = field(default_factory=list)

    def ip(self, name: str) -> str:
        return self.cells[name][0]

    def cell_of(self, name: str) -> str:
        """The only cell of an IP."""
        found = [cell for cell, (ip, _, _) in self.cells.items() if ip == name]
        assert len(found) == 1, f"{len(found)} cells of {name}"
        return found[0]


def option(arguments: tuple[str, ...], name: str) -> str | None:
    return arguments[arguments.index(name) + 1] if name in arguments else None


def core_of(recording: Recording) -> Core:
    """What the ipx commands made."""
    core = Core()
    (package,) = recording.of("ipx::package_project")
    for name in ("vendor", "library"):
        core.identity[name] = option(package, f"-{name}") or ""
    for call in recording.calls:
        command, *arguments = call
        if command == "ipx::add_bus_interface":
            core.interfaces[arguments[0]] = BusInterface(arguments[0])
        elif command == "ipx::add_address_space":
            core.spaces[arguments[0]] = {}
        elif command == "ipx::add_address_block":
            core.blocks[f"{arguments[1]}/{arguments[0]}"] = {}
        elif command == "ipx::add_bus_parameter":
            core.interfaces[arguments[1].split("/")[1]].parameters[arguments[0]] = ""
        elif command == "ipx::add_file":
            assert arguments[1] == "group:synthesis"
            core.files[arguments[0]] = {}
        elif command == "set_property" and arguments[-1].startswith(FILE):
            core.files[arguments[2].removeprefix(FILE)][arguments[0]] = arguments[1]
        elif command == "set_property" and str(arguments[-1]).startswith("core"):
            _set(core, *arguments)
    return core


def _set(core: Core, name: str, value: str, target: str) -> None:
    path = target.split("/")
    if len(path) == 1:
        core.identity[name] = value
    elif target in core.blocks:
        core.blocks[target][name] = value
    elif len(path) == 3 and name == "physical_name":
        core.interfaces[path[1]].maps[path[2]] = value
    elif len(path) == 3:
        core.interfaces[path[1]].parameters[path[2]] = value
    elif path[1].startswith(SPACE):
        core.spaces[path[1].removeprefix(SPACE)][name] = value
    elif name == "interface_mode":
        core.interfaces[path[1]].mode = value
    elif name == "bus_type_vlnv":
        core.interfaces[path[1]].bus = value
    else:
        core.interfaces[path[1]].properties[name] = value


def design_of(recording: Recording) -> Design:
    """What the block design commands made."""
    design = Design()
    for call in recording.calls:
        command, arguments = call[0], call[1:]
        if command == "create_bd_cell":
            vlnv = option(arguments, "-vlnv") or ""
            design.cells[arguments[-1]] = (vlnv.split(":")[2], vlnv, {})
        elif command == "set_property" and arguments[0] == "-dict":
            pairs = split_list(arguments[1])
            settings = design.cells[arguments[2]][2]
            for name, value in zip(pairs[::2], pairs[1::2], strict=True):
                assert name.startswith("CONFIG."), name
                settings[name.removeprefix("CONFIG.")] = value
        elif command == "connect_bd_net":
            driver, *sinks = arguments
            design.nets.setdefault(driver, []).extend(sinks)
        elif command == "connect_bd_intf_net":
            design.buses.append((arguments[0], arguments[1]))
        elif command == "assign_bd_address":
            space = option(arguments, "-target_address_space") or ""
            numbers = [option(arguments, name) for name in ("-offset", "-range")]
            segment = next(
                a
                for i, a in enumerate(arguments)
                if not a.startswith("-")
                and arguments[i - 1] not in ("-offset", "-range", "-target_address_space")
            )
            offset, size = (None if n is None else int(n, 0) for n in numbers)
            design.addresses.append((space, segment, offset, size))
        elif command == "exclude_bd_addr_seg":
            design.excluded.append(
                (option(arguments, "-target_address_space") or "", arguments[-1])
            )
    return design


def split_list(text: str) -> list[str]:
    """A Tcl list whose elements are plain or braced words."""
    words, depth, word = [], 0, ""
    for character in text + " ":
        if character == "{" and (depth or not word):
            depth += 1
            word += character if depth > 1 else ""
        elif character == "}" and depth:
            depth -= 1
            word += character if depth else ""
        elif character.isspace() and not depth:
            if word:
                words.append(word)
            word = ""
        else:
            word += character
    assert depth == 0, text
    return words
