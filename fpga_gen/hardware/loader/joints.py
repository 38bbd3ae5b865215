"""What the parts of the loader tell each other."""

from __future__ import annotations

from amaranth.hdl import Value
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out, PureInterface, Signature

from fpga_gen.contract.isa import width
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.slot_layout import slot_run
from fpga_gen.contract.weight_stream import HEAD_GRANULES

# A command of the sequencer: `words` whole words to hand on (KIND_WORDS), the parameters and slots
# of a CONV, or the parameters of a VECTOR. listed: every group of a CONV has a head that says what
# slots, half_from, high_from and repeats are.
COMMAND = StructLayout(
    {
        "kind": 2,
        "mode": width("mode"),
        "groups": width("n_groups"),
        "tiles": width("n_tiles"),
        "slots": width("slots"),
        "half_from": width("half_from"),
        "high_from": width("high_from"),
        "last_subgroups": width("last_subgroups"),
        "repeats": width("repeats"),
        "listed": 1,
        "words": width("words"),
    }
)
KIND_WORDS, KIND_CONV, KIND_VECTOR = 0, 1, 2


def pointer_bits(params: EngineParams) -> int:
    """Bits of a pointer to a word of the ring, modulo twice the ring."""
    return params.weight_words.bit_length()


def granule_bits(params: EngineParams) -> int:
    """Bits of a granule's place in a stream word."""
    return (params.stream_granules - 1).bit_length()


def block_granules(params: EngineParams) -> int:
    """Longest record: a mode-1 slot, or mode-1 parameters and the head in front of them."""
    return max(
        slot_run(params, params.subgroups).granules, HEAD_GRANULES + params.param_granules(1)
    )


def rows(params: EngineParams) -> int:
    """Stream words that hold the longest record."""
    return -(-block_granules(params) // params.stream_granules)


def wraps(params: EngineParams) -> list[int]:
    """Numbers of subgroups whose slots begin with their last bits."""
    return [n for n in range(1, params.subgroups + 1) if slot_run(params, n).wrapped]


def wrap_bits(params: EngineParams) -> int:
    return max(1, len(wraps(params)))


def read_layout(params: EngineParams) -> StructLayout:
    """What goes with a word from the cycle in which it is read. row: of the assembly; offset:
    granules by which it is rotated; end: last word of the record; clear, wrap: see
    `AssembledSlot`."""
    return StructLayout(
        {
            "valid": 1,
            "row": (rows(params) + 1).bit_length(),
            "offset": max(granule_bits(params), 1),
            "end": 1,
            "is_param": 1,
            "clear": 2,
            "wrap": wrap_bits(params),
        }
    )


class RingRead(Signature):
    """LoaderControl to the ring; pointers count words modulo twice the ring, `position` granules.

    seek: the read pointer goes to the word of `position`; align: to the first whole word from
    there; advance: its word is taken, and shows two cycles later. free_pointer: words before it may
    be overwritten. present: there is a word at the read pointer, unless `spent` and `was_last` say
    that it was the last one and is taken: see `available`.
    """

    def __init__(self, params: EngineParams) -> None:
        bits = pointer_bits(params)
        super().__init__(
            {
                "position": Out(bits + granule_bits(params)),
                "seek": Out(1),
                "align": Out(1),
                "advance": Out(1),
                "free_pointer": Out(bits),
                "read_pointer": In(bits),
                "present": In(1),
                "spent": In(1),
                "was_last": In(1),
            }
        )


def available(ring: PureInterface) -> Value:
    """Whether there is a word at the ring's read pointer; three registers, for one gate with what
    else the reader waits for."""
    return ring.present & ~(ring.spent & ring.was_last)


class AssembledSlot(Signature):
    """SlotAssembly to SlotStage. record: a whole one in the cycle after its last word was written,
    which is the cycle after `complete`, of a slot; clear: of the stage's low and high half, wrap:
    which end of a slot lies in front of it; both of the last slot, as long as it is there."""

    def __init__(self, params: EngineParams) -> None:
        super().__init__(
            {
                "record": Out(rows(params) * params.stream_bits),
                "complete": Out(1),
                "clear": Out(2),
                "wrap": Out(wrap_bits(params)),
            }
        )
