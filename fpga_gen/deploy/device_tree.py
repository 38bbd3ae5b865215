"""A device tree overlay: the tree, its source, and the blob that Linux loads.

Sources: Devicetree Specification v0.4, chapter 5 (flattened format, version 17); Linux,
Documentation/devicetree/overlay-notes.rst and the node `__fixups__` that dtc writes for references
to labels of the base tree.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC, VERSION, COMPATIBLE = 0xD00DFEED, 17, 16
BEGIN, END_NODE, PROPERTY, END = 1, 2, 3, 9
HEADER_BYTES, RESERVED_BYTES = 40, 16  # of the header; of the empty list of reserved memory
UNRESOLVED = 0xFFFFFFFF  # in the place of a reference, until the overlay is applied


@dataclass(frozen=True)
class Reference:
    """A node of the base tree, by its label."""

    label: str


Cells = tuple[int | Reference, ...]
Value = str | Cells


@dataclass(frozen=True)
class TreeNode:
    """A node: text or 32-bit cells by name; an empty tuple is a property without a value."""

    name: str
    properties: dict[str, Value]
    children: tuple[TreeNode, ...] = ()


def source(root: TreeNode) -> str:
    """The overlay as `dtc -I dts` reads it."""
    return "/dts-v1/;\n/plugin/;\n\n" + "\n".join(_lines(root, 0)) + "\n"


def _lines(node: TreeNode, depth: int) -> Iterator[str]:
    tab = "\t" * depth
    yield f"{tab}{node.name or '/'} {{"
    for name, value in node.properties.items():
        if isinstance(value, str):
            yield f'{tab}\t{name} = "{value}";'
        elif value:
            cells = " ".join(
                f"&{c.label}" if isinstance(c, Reference) else f"{c:#x}" for c in value
            )
            yield f"{tab}\t{name} = <{cells}>;"
        else:
            yield f"{tab}\t{name};"
    for child in node.children:
        yield from _lines(child, depth + 1)
    yield f"{tab}}};"


def blob(root: TreeNode) -> bytes:
    """The compiled overlay, the `.dtbo` file."""
    fixups = _fixups(root)
    whole = TreeNode(root.name, root.properties, (*root.children, *fixups))
    strings: dict[str, int] = {}
    tree = b"".join(_tokens(whole, strings)) + struct.pack(">I", END)
    names = b"".join(name.encode() + b"\0" for name in strings)
    at_tree = HEADER_BYTES + RESERVED_BYTES
    at_names = at_tree + len(tree)
    header = struct.pack(
        ">10I", MAGIC, at_names + len(names), at_tree, at_names, HEADER_BYTES, VERSION, COMPATIBLE,
        0, len(names), len(tree),
    )  # fmt: skip
    return header + bytes(RESERVED_BYTES) + tree + names


def _tokens(node: TreeNode, strings: dict[str, int]) -> Iterator[bytes]:
    yield struct.pack(">I", BEGIN) + _padded(node.name.encode() + b"\0")
    for name, value in node.properties.items():
        if name not in strings:
            strings[name] = sum(len(known) + 1 for known in strings)
        data = _bytes(value)
        yield struct.pack(">3I", PROPERTY, len(data), strings[name]) + _padded(data)
    for child in node.children:
        yield from _tokens(child, strings)
    yield struct.pack(">I", END_NODE)


def _bytes(value: Value) -> bytes:
    if isinstance(value, str):
        return value.encode() + b"\0"
    cells = (UNRESOLVED if isinstance(cell, Reference) else cell for cell in value)
    return b"".join(struct.pack(">I", cell) for cell in cells)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _fixups(root: TreeNode) -> tuple[TreeNode, ...]:
    """Where each label is meant: PATH:PROPERTY:BYTE, several with a zero byte between them."""
    places: dict[str, list[str]] = {}

    def visit(node: TreeNode, path: str) -> None:
        for name, value in node.properties.items():
            for index, cell in enumerate(() if isinstance(value, str) else value):
                if isinstance(cell, Reference):
                    places.setdefault(cell.label, []).append(f"{path or '/'}:{name}:{4 * index}")
        for child in node.children:
            visit(child, f"{path}/{child.name}")

    visit(root, "")
    texts: dict[str, Value] = {label: "\0".join(found) for label, found in places.items()}
    return (TreeNode("__fixups__", texts),) if texts else ()
