"""STOREs: as early as a map, or whole planes of it, are complete.

The store unit works beside the array. A result of the network is stored while later layers run; the
last layer may be cut into instructions, so that its first planes leave while it computes the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.isa import StoreInstruction
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.lower.conv_plan import ConvRun
from fpga_gen.schedule.lower.lowered import NO_STREAM, WHOLE, Lowered
from fpga_gen.schedule.lower.placement import Placement
from fpga_gen_host.regions import BEAT_BYTES, MapLayout

MOST_PIECES = 6  # of a map that are tried


def with_stores(
    lowered: Sequence[Lowered], place: Placement, offset: int, params: EngineParams
) -> list[Lowered]:
    """The instructions of a layer, and STOREs of its result map, whose first word goes to byte
    `offset` of the output region; the last STORE follows the last instruction."""
    out: list[Lowered] = []
    stored = 0
    for index, item in enumerate(lowered):
        out.append(item)
        end = place.layout.words if index == len(lowered) - 1 else item.final
        if end > stored:
            base = place.base + stored
            instruction = StoreInstruction(
                layer=place.tensor,
                words=end - stored,
                base=pack_address(base, params.banks),
                offset=(offset + stored * params.in_channels) // BEAT_BYTES,
            )
            reads = ((base, place.base + end, WHOLE),)
            out.append(Lowered(instruction, NO_STREAM, reads, ()))
            stored = end
    return out


def complete_words(layout: MapLayout, channels: int, params: EngineParams) -> int:
    """Words, whole beats, from the start of a map that are final once its first `channels` channels
    in memory are; a map of 16 bits counts as a whole."""
    if channels == layout.channels:
        return layout.words
    if layout.low:
        return 0
    words = (layout.byte_offset + channels) // layout.word_channels * layout.plane
    return words - words % params.beat_words


def cut_runs(
    runs: Sequence[ConvRun], layout: MapLayout, params: EngineParams, pieces: int
) -> tuple[list[ConvRun], list[int]]:
    """A layer's runs, cut where planes of its result become complete, and the words that may be
    stored after each of them.

    At most `pieces` - 1 of the possible cuts are used: each takes half of what is left, because the
    STOREs take longer than the layer does for their planes, and the last one leaves as little as it
    can.
    """
    singles: list[ConvRun] = []  # one group each
    begins: set[int] = set()  # where a run of the layer begins
    for run in runs:
        begins.add(len(singles))
        size = params.group_channels(run.mode)
        for first in range(run.first, run.first + run.channels, size):
            channels = min(size, run.first + run.channels - first)
            singles.append(replace(run, first=first, groups=1, channels=channels))
    done = [complete_words(layout, s.first + s.channels, params) for s in singles]
    gains = [k for k in range(len(singles) - 1) if done[k] > max([0, *done[:k]])]
    after: set[int] = set()  # groups after which a STORE comes
    if gains and pieces > 1:
        halves = [len(gains) - (len(gains) >> k) for k in range(1, pieces - 1)]
        after = {gains[k - 1] for k in halves if k} | {gains[-1]}
    cut: list[ConvRun] = []
    words: list[int] = []
    for k, single in enumerate(singles):
        if k in begins or k - 1 in after:
            cut.append(single)
            words.append(0)
        else:
            run = cut[-1]
            channels = run.channels + single.channels
            cut[-1] = replace(run, groups=run.groups + 1, channels=channels)
        words[-1] = done[k] if k in after else 0
    return cut, words
