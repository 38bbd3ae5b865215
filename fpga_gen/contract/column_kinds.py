"""The kinds of MAC columns: all that the stages must know of one, said once.

A kind is an entry of `KINDS`, a field of `EngineParams` that holds its number of columns, and the
hardware of its columns (`hardware/array/columns.py`). Everything else, from the quantiser to the
report, goes through the entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fpga_gen.contract.numerics import DSP, INT8, SP2, Sp2Code, WeightCode

if TYPE_CHECKING:
    from fpga_gen.contract.params import EngineParams


@dataclass(frozen=True, eq=False)
class ColumnKind:
    """One kind of MAC column.

    number: its place in `KINDS`, in a subgroup's columns, in `--array` and in QTensor.kinds; name:
    in names of signals, fields and facts; title: in texts; filters: what its filters are called.

    code: code of its weights, in the stream and for the quantiser, on an engine with that SP2 code;
    block: columns that share their hardware; hold: cycles that it needs a slot's weights to stay;
    costs: classes of its modules (contract/modules.py), each with whether an engine has it; scarce:
    the primitive of a board, a field of `Resources`, that it takes most of.
    """

    number: int
    name: str
    title: str
    filters: str
    code: Callable[[Sp2Code], WeightCode]
    hold: Callable[[EngineParams], int]
    costs: Mapping[str, Callable[[EngineParams], bool]]
    scarce: str
    block: Callable[[EngineParams], int] = lambda params: 1

    @property
    def field(self) -> str:
        """Field of `EngineParams` with the number of its columns."""
        return f"{self.name}_columns"

    def count(self, params: EngineParams) -> int:
        """Its columns in an engine."""
        return getattr(params, self.field)

    def sub_count(self, params: EngineParams) -> int:
        """Its columns in one subgroup."""
        return self.count(params) // params.subgroups

    def step(self, params: EngineParams) -> int:
        """Its columns come in multiples of this: whole blocks in every subgroup."""
        return self.block(params) * params.subgroups


@dataclass(frozen=True)
class KindColumns:
    """The columns of one kind in a subgroup. columns: which of the subgroup's columns; bits: which
    of the bits that one input has in a weight slot; column n of the kind has the n-th word of its
    code there."""

    kind: ColumnKind
    code: WeightCode
    columns: slice
    bits: slice


DSP_KIND = ColumnKind(
    number=DSP,
    name="dsp",
    title="DSP",
    filters="int8",
    code=lambda sp2: INT8,
    # the last stage of a cascade of half as many stages as inputs takes its weights last
    hold=lambda p: p.in_channels // 2 + (2 if p.double_clock else 0),
    costs={
        "dsp columns": lambda p: not p.double_clock,
        "dsp columns at twice the clock": lambda p: p.double_clock,
    },
    scarce="dsps",
    block=lambda p: 4 if p.double_clock else 2,
)
SP2_KIND = ColumnKind(
    number=SP2,
    name="sp2",
    title="SP2",
    filters="SP2",
    code=lambda sp2: sp2,
    hold=lambda p: 5,
    costs={"sp2 columns": lambda p: True},
    scarce="luts",
)

# In the order of a subgroup's columns. The first one is the most exact: what the others lose is
# measured against it.
KINDS = (DSP_KIND, SP2_KIND)
EXACT, COARSE = KINDS[0], KINDS[1:]


def weight_codes(
    sp2: Sp2Code, bits: int = 8, kinds: Iterable[ColumnKind] = KINDS
) -> dict[int, WeightCode]:
    """Codes of the weights that a quantiser may use, by kind; bits: most of a fixed-point weight
    (`Scheme.fixed_bits`)."""
    return {kind.number: kind.code(sp2).narrowed(bits) for kind in kinds}
