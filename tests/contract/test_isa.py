"""Instruction set: opcodes survive encoding, fields have one width, bad programs are named."""

from __future__ import annotations

import random

import pytest

from fpga_gen.contract import isa
from fpga_gen.contract.fields import Record, tables_of
from fpga_gen.contract.isa import INSTRUCTIONS, EndInstruction, Instruction, Op, decode_program


def noise(rng: random.Random, record: type[Record]) -> dict[str, int]:
    return {f.name: rng.choice(f.values) for f in record.layout() if f.name != "op"}


def random_instruction(rng: random.Random, kind: type[Instruction]) -> Instruction:
    values: dict = noise(rng, kind)
    for entry in tables_of(kind):
        values[entry.count] = count = rng.randint(1, 5)
        records = count * entry.record.PER_WORD
        if entry.unless and values[entry.unless]:
            records = 0
        made = (entry.record(**noise(rng, entry.record)) for _ in range(records))
        values[entry.name] = tuple(made)
    return kind(**values)


def test_every_opcode_has_its_class() -> None:
    assert set(INSTRUCTIONS) == set(Op)
    for op, kind in INSTRUCTIONS.items():
        assert kind().op == op
        first = kind.layout().fields[:2]
        assert [(f.name, f.word, f.lsb) for f in first] == [("op", 0, 0), ("wait", 0, isa.OP_BITS)]


@pytest.mark.parametrize("seed", range(5))
def test_programs_survive_encoding(seed: int) -> None:
    rng = random.Random(seed)
    kinds = [k for k in INSTRUCTIONS.values() if k is not EndInstruction] * 5
    program = [random_instruction(rng, kind) for kind in rng.sample(kinds, len(kinds))]
    program.append(EndInstruction(wait=1))
    words = [word for i in program for word in i.encode()]
    assert len(words) == sum(i.encoded_words for i in program)
    assert list(decode_program([*words, 12345])) == program


def test_name_of_a_report_is_not_encoded() -> None:
    assert EndInstruction(wait=1, layer="conv7").encode() == EndInstruction(wait=1).encode()


def test_bad_programs() -> None:
    load = isa.LoadInstruction(words=3).encode()
    with pytest.raises(ValueError, match="unknown opcode 15 at word 2"):
        list(decode_program([*load, 15]))
    with pytest.raises(ValueError, match="program has no END"):
        list(decode_program(load))
    with pytest.raises(ValueError, match="truncated at word 0"):
        list(decode_program(load[:1]))


def test_widths_and_limits() -> None:
    assert isa.width("n_tiles") == 16
    assert (isa.limit("n_tiles"), isa.limit("factor"), isa.limit("wait")) == (65535, 32767, 1)
    with pytest.raises(KeyError):
        isa.width("nothing")
    assert isa.HEADER_WORDS == 8
