"""Names that a model brings along do nothing to the terminal that shows them."""

from __future__ import annotations

import io
from pathlib import Path

import onnx
import pytest
from rich.console import Console
from rich.table import Table

from fpga_gen.cli.terminal import MAX_CELL, MAX_LINE, cell, line, plain

EVIL = "\x1b]0;owned\x07\x1b[2Jgone\r\x9b31m\u202eesrever\u2028\x7f\x00"


def is_harmless(text: str) -> bool:
    return not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2028" for c in text)


def test_control_characters_are_escaped():
    assert plain(EVIL) == (r"\x1b]0;owned\x07\x1b[2Jgone\r\x9b31m\u202eesrever\u2028\x7f\x00")
    assert is_harmless(plain(EVIL))
    assert plain("two\nlines, größer, 日本") == "two\nlines, größer, 日本"
    assert line("two\nlines") == r"two\nlines"
    assert line("\ud800") == r"\ud800"


def test_long_names_are_shortened():
    text = plain("a" * 1_000_000 + "end")
    assert len(text) <= MAX_LINE
    assert "(1,000,003 characters)" in text
    assert text.startswith("aaa")
    assert text.endswith("aend")
    assert plain("x\n" * 5000).endswith("... (4,001 more lines)")
    assert plain("/" + "long/" * 700) == "/" + "long/" * 700  # a path stays whole
    assert len(cell("b" * 5000).plain) <= MAX_CELL


def test_tables_take_names_as_they_are():
    table = Table(title=cell("[/]title"))
    table.add_column("layer")
    table.add_row(cell("[red]conv[/][/nothing]" + EVIL))
    stream = io.StringIO()
    Console(file=stream, width=200).print(table)
    assert "[red]conv[/][/nothing]\\x1b]0;owned" in stream.getvalue()
    assert "[/]title" in stream.getvalue()


@pytest.fixture
def evil_model(model: Path) -> Path:
    """The network with hostile names of graph, nodes and tensors."""
    proto = onnx.load(model)
    proto.graph.name = "[/]" + EVIL
    names: dict[str, str] = {}

    def renamed(name: str) -> str:
        return names.setdefault(name, f"[bold]{name}[/][/x]{EVIL}" + "n" * 10_000)

    for node in proto.graph.node:
        node.name = renamed(node.name)
        for side in (node.input, node.output):
            side[:] = [renamed(name) if name else name for name in side]
    for item in (*proto.graph.initializer, *proto.graph.input, *proto.graph.output):
        item.name = renamed(item.name)
    del proto.graph.value_info[:]
    onnx.save(proto, model)
    return model


def test_a_model_with_hostile_names(cli, evil_model: Path):
    result = cli("estimate", evil_model, "--board", "tiny", "-v")
    text = result.out + result.err
    assert all(is_harmless(each) for each in text.split("\n"))
    assert max(map(len, text.split("\n"))) <= MAX_LINE + 20
    assert "Traceback" not in text
    assert result.code == 0, result.err


def test_a_refusal_with_hostile_names(cli, evil_model: Path):
    proto = onnx.load(evil_model)
    proto.graph.node[0].op_type = "Cos"
    del proto.graph.node[0].attribute[:]
    onnx.save(proto, evil_model)
    for command in (("check",), ("estimate", "--board", "tiny"), ("-v", "check")):
        result = cli(*command, evil_model)
        assert result.code == 1
        assert all(is_harmless(each) for each in (result.out + result.err).split("\n"))
        assert r"\x1b]0;owned" in result.err
        assert max(map(len, result.err.split("\n"))) <= MAX_LINE + 20
