"""The application folder of a Kria board, its overlay read back without our writer."""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace
from typing import Any

import pytest

from fpga_gen.boards import load_board
from fpga_gen.deploy import kria
from fpga_gen.deploy.bitfile import stand_in_bitstream
from fpga_gen.deploy.device_tree import Reference, TreeNode, blob, source
from fpga_gen.errors import ToolError
from fpga_gen.flows.bitstream import kria_files

BOARD = load_board("kv260")
BIT = stand_in_bitstream("fpga_gen", BOARD.part, 0x0123456789ABCDEF, "handoff")


def read_blob(data: bytes) -> dict:
    """A flattened tree as nested dicts, by the specification; properties are bytes."""
    magic, total, at_tree, at_names, reserved, version, compatible, boot, size_names, size_tree = (
        struct.unpack_from(">10I", data)
    )
    assert (magic, version, compatible, boot) == (0xD00DFEED, 17, 16, 0)
    assert total == len(data) == at_names + size_names
    assert data[reserved : reserved + 16] == bytes(16)
    names, at = data[at_names:], at_tree

    def number() -> int:
        nonlocal at
        at += 4
        return struct.unpack_from(">I", data, at - 4)[0]

    def node() -> dict:
        nonlocal at
        found: dict = {}
        while (token := number()) != 2:
            if token == 1:
                name = data[at : data.index(b"\0", at)].decode()
                at += (len(name) + 4) // 4 * 4
                found[name] = node()
            else:
                assert token == 3
                length, offset = number(), number()
                key = names[offset : names.index(b"\0", offset)].decode()
                found[key] = data[at : at + length]
                at += (length + 3) // 4 * 4
        return found

    assert number() == 1
    at += 4  # the root has no name
    tree = node()
    assert number() == 9
    assert at == at_tree + size_tree
    return tree


def cells(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(data) // 4}I", data)


def test_the_overlay_says_what_is_loaded_and_how():
    files = kria.application(BIT, BOARD, 4, 300.0)
    assert set(files) == set(kria.FILES)
    tree = read_blob(files["fpga_gen.dtbo"])
    firmware = tree["fragment@0"]["__overlay__"]
    assert firmware["firmware-name"] == b"fpga_gen.bit.bin\0"
    clocking = tree["fragment@1"]["__overlay__"]["clocking0"]
    assert cells(clocking["assigned-clock-rates"]) == (300_000_000,)
    assert cells(clocking["assigned-clocks"])[1] == 71
    widths = cells(tree["fragment@1"]["__overlay__"]["afi0"]["config-afi"])
    assert widths[::2] == tuple(range(16))
    assert widths[29] == 0x800  # HPM0 is set to 32 bits in processor_ultrascale.tcl
    assert json.loads(files["shell.json"]) == {"shell_type": "XRT_FLAT", "num_slots": "1"}


def test_references_are_left_to_the_base_tree():
    tree = read_blob(kria.application(BIT, BOARD, 2, 250.0)["fpga_gen.dtbo"])
    fixups = {k: v.decode().rstrip("\0").split("\0") for k, v in tree["__fixups__"].items()}
    inner = "/fragment@1/__overlay__/clocking0"
    assert fixups == {
        "fpga_full": ["/fragment@0:target:0"],
        "zynqmp_reset": ["/fragment@0/__overlay__:resets:0"],
        "amba": ["/fragment@1:target:0"],
        "zynqmp_clk": [f"{inner}:assigned-clocks:0", f"{inner}:clocks:0"],
    }
    for places in fixups.values():
        for place in places:
            path, name, offset = place.split(":")
            node = tree
            for part in path.strip("/").split("/"):
                node = node[part]
            assert node[name][int(offset) :][:4] == b"\xff" * 4


def test_narrow_ports_are_set_where_the_accelerator_has_them():
    from dataclasses import replace

    narrow = replace(BOARD, hp_bits=64)
    order = BOARD.vivado.hp_order
    found = kria.port_widths(narrow, 2)
    on = {found[i] for i in range(0, 28, 2) if found[i + 1]}
    assert on == {4 + 2 * hp + side for hp in order[:2] for side in (0, 1)}


def test_configuration_is_what_pynq_would_load():
    from pynq.pl_server.embedded_device import bit2bin

    assert kria.configuration(BIT) == bytes(bit2bin(BIT))


@pytest.mark.parametrize(
    ("bit", "message"),
    [
        (b"bitstream", "without the header"),
        (BIT[:40], "damaged header|of a .bit"),
        (BIT[:-4], "bytes"),
        (BIT[:13] + b"z" + BIT[14:], "damaged header"),
    ],
)
def test_what_is_no_bitstream(bit: bytes, message: str):
    with pytest.raises(ToolError, match=message):
        kria.configuration(bit)


def test_only_kria_boards_get_the_folder():
    assert [n for n in ("kv260", "zcu104", "pynq-z2") if kria.is_kria(load_board(n))] == ["kv260"]


def test_the_flow_adds_the_folder_on_kria_boards_alone():
    def build(name: str) -> Any:
        board = load_board(name)
        return SimpleNamespace(board=board, params=board.array, clock_mhz=300.0)

    assert set(kria_files(build("kv260"), BIT)) == {f"kria/{name}" for name in kria.FILES}
    assert kria_files(build("zcu104"), b"anything") == {}


def test_source_and_blob_of_a_tree():
    tree = TreeNode("", {"empty": ()}, (TreeNode("a@0", {"x": (1, Reference("b")), "t": "hi"}),))
    assert source(tree) == (
        "/dts-v1/;\n/plugin/;\n\n/ {\n\tempty;\n\ta@0 {\n"
        '\t\tx = <0x1 &b>;\n\t\tt = "hi";\n\t};\n};\n'
    )
    found = read_blob(blob(tree))
    assert found == {
        "empty": b"",
        "a@0": {"x": b"\0\0\0\1\xff\xff\xff\xff", "t": b"hi\0"},
        "__fixups__": {"b": b"/a@0:x:4\0"},
    }
