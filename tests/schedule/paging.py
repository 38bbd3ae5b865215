"""A network with a long program, and pages at random places, for the tests of pages."""

from __future__ import annotations

import random
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

from fpga_gen.contract.isa import Instruction
from fpga_gen.contract.numerics import I8, U8
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.place.pages import Page
from tests.schedule.graphs import Builder, Example


def long_program(params: EngineParams) -> Example:
    """Every kind of instruction, in more than 400 words for the engine SMALL."""
    b = Builder("long program", params)
    x = b.simple(b.input(3, 12, 12), 8, 3, U8)
    x = b.pool(x, 2, 2)
    for _ in range(3):
        y = b.local(x, 16, 3, U8)
        y = b.local(y, 16, 3, U8, groups=16)
        z = b.local(y, 16, 1, U8, top=60)
        x = b.add((z, z), U8)
    x = b.mul(x, x, I8)
    b.simple((x, y), 12, 3, U8, top=60)
    return b.example()


def random_pages(
    rng: random.Random,
    instructions: Sequence[Instruction],
    params: EngineParams,
    barred: Container[int],
) -> tuple[Page, ...]:
    """Like cut_program, but cuts pages of any size anywhere that the rules allow."""
    capacity, per_word = params.program_words, params.program_parts
    total = sum(i.encoded_words for i in instructions)
    at, loaded, pages = 0, capacity, []
    for index, instruction in enumerate(instructions):
        size = instruction.encoded_words
        while at + total > loaded and index not in barred:
            needed = -(-(at + 1 + total - loaded) // per_word)
            most = min((capacity - (loaded - at - 1)) // per_word, needed)
            # this instruction, and a PAGE behind it
            least = max(1, -(-(at + 1 + size + 1 - loaded) // per_word))
            if most < least or (at + size + 1 <= loaded and rng.random() < 0.6):
                break
            pages.append(Page(index, rng.choice([least, most, rng.randint(least, most)])))
            at, loaded = at + 1, loaded + pages[-1].words * per_word
        at, total = at + size, total - size
    return tuple(pages)


@contextmanager
def random_cuts(seed: int) -> Iterator[None]:
    """The compiler places its pages at random."""
    rng = random.Random(seed)

    def cut(instructions, params, barred):
        return random_pages(rng, instructions, params, barred)

    with mock.patch("fpga_gen.schedule.lowering.cut_program", cut):
        yield
