"""Programs longer than the program memory: what does not fit comes in pages, among the weights.

The memory is a ring. The program region fills it; a PAGE in front of an instruction takes further
words of the program out of the weight stream, into the place of words that are decoded by then.
Pages are as large as half the memory: the decoder has the other half before it needs them, and the
weights are seldom interrupted. A program that fits has none.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.contract.isa import Instruction, PageInstruction
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.schedule.lower.lowered import Granules, Lowered


@dataclass(frozen=True)
class Page:
    """A PAGE in front of instruction `before` that brings `words` stream words."""

    before: int
    words: int


def cut_program(
    instructions: Sequence[Instruction], params: EngineParams, barred: Container[int]
) -> tuple[Page, ...]:
    """The pages of a program; barred: indices of instructions that none may be in front of.

    Raises ScheduleError if an instruction alone is too long for the memory.
    """
    capacity, per_word = params.program_words, params.program_parts
    # Words from here to the end of the program, further PAGEs left out.
    rest = sum(i.encoded_words for i in instructions)
    at, loaded = 0, capacity  # words decoded before an instruction; words that have come by then
    pages = []
    for index, instruction in enumerate(instructions):
        size = instruction.encoded_words
        needed = -(-(at + 1 + rest - loaded) // per_word)  # stream words after this PAGE
        room = (capacity - (loaded - at - 1)) // per_word
        stuck = at + size + 1 > loaded  # this instruction or the PAGE behind it would be missing
        due = room * per_word >= capacity // 2 or room >= needed or stuck
        if index not in barred and at + rest > loaded and due:
            words = min(room, needed)
            at, loaded = at + 1, loaded + words * per_word
            pages.append(Page(index, words))
            if words < needed and at + size + 1 > loaded:
                raise ScheduleError(
                    f"layer '{instruction.layer}': an instruction of {size} words does not fit the "
                    f"program memory of {capacity} words: use a larger program_words"
                )
        elif at + size > loaded:
            raise ScheduleError(
                f"layer '{instruction.layer}': the LOADs in front of it do not fit the program "
                f"memory of {capacity} words: use a larger program_words"
            )
        at, rest = at + size, rest - size
    return tuple(pages)


def with_pages(
    lowered: list[Lowered], pages: Sequence[Page], params: EngineParams
) -> list[Lowered]:
    """The program with its PAGEs; their part of the stream is still empty words."""
    out = list(lowered)
    for page in reversed(pages):
        layer = lowered[page.before].instruction.layer
        instruction = PageInstruction(words=page.words, layer=layer)
        stream = Granules.of(np.zeros(page.words * params.stream_granules, np.uint32))
        out.insert(page.before, Lowered(instruction, stream, (), ()))
    return out


def fill_pages(
    lowered: list[Lowered], words: list[int], params: EngineParams
) -> tuple[list[int], list[Lowered]]:
    """(words of the first fill, the program with its words in the streams of the PAGEs)."""
    words = words + [0] * (-len(words) % params.program_parts)
    paged = any(isinstance(item.instruction, PageInstruction) for item in lowered)
    first = at = params.program_words if paged else len(words)
    out = []
    for item in lowered:
        if isinstance(item.instruction, PageInstruction):
            end = at + item.instruction.words * params.program_parts
            item = replace(item, stream=Granules.of(np.array(words[at:end], "<u8").view("<u4")))
            at = end
        out.append(item)
    assert at == len(words)
    return words[:first], out


def moved(index: int, pages: Sequence[Page]) -> int:
    """Index of an instruction in the program with its PAGEs."""
    return index + sum(page.before <= index for page in pages)
