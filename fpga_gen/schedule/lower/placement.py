"""Where maps lie in the feature-map memory, and in which order their channels lie there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from fpga_gen.contract.column_kinds import KINDS
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.quant.ir import QTensor
from fpga_gen_host.regions import MapLayout


@dataclass(frozen=True)
class Placement:
    """A map, or a window of its rows, at linear word `base` of the feature-map memory.

    layout: the planes of the rows held; first_row: the map's row that lies at `base`.
    """

    layout: MapLayout
    base: int
    first_row: int = 0

    @property
    def tensor(self) -> str:
        return self.layout.tensor

    def address(self, plane: int, row: int, low: bool = False) -> int:
        """Linear word of (row, column 0) of a plane; rows outside the window are extrapolated."""
        shift = self.layout.low if low else 0
        row_words = (row - self.first_row) * self.layout.width
        return self.base + shift + plane * self.layout.plane + row_words

    @property
    def span(self) -> tuple[int, int]:
        """Words [first, end) of the map, gaps between its planes included."""
        return self.base, self.base + self.layout.words

    def at(self, base: int) -> Placement:
        return replace(self, base=base)


def channel_positions(tensor: QTensor, params: EngineParams) -> tuple[int, ...]:
    """Position in memory of every logical channel.

    Position j of a layer is computed by a column of kind params.column_kind(j, tensor.period). If
    the tensor does not tell their places, the channels of each kind keep their order. Raises
    ScheduleError if the kinds do not fit the columns.
    """
    if tensor.kinds is None:
        return tuple(range(tensor.channels))
    positions = tuple(tensor.positions)
    return _positions(
        tensor.name, tensor.channels, tuple(tensor.kinds), tensor.period, params, positions
    )


@lru_cache(maxsize=4096)  # the search for row bands asks for the same maps again and again
def _positions(
    name: str,
    channels: int,
    kinds: tuple[int, ...],
    period: int,
    params: EngineParams,
    positions: tuple[int, ...] = (),
) -> tuple[int, ...]:
    free: dict[int, list[int]] = {kind.number: [] for kind in KINDS}
    for position in range(channels):
        free[params.column_kind(position, period)].append(position)
    wanted = {kind: sum(k == kind for k in kinds) for kind in free}
    if len(kinds) != channels or any(len(free[k]) != wanted[k] for k in free):
        shown = [kind for kind in KINDS if wanted[kind.number] or free[kind.number]]
        has = " and ".join(f"{wanted[kind.number]} {kind.filters}" for kind in shown)
        computes = " and ".join(str(len(free[kind.number])) for kind in shown)
        raise ScheduleError(
            f"tensor '{name}' has {has} filters, the engine computes {computes} of {channels}: "
            "quantise the network for this engine"
        )
    if positions:
        computed = tuple(params.column_kind(p, period) for p in positions)
        if sorted(positions) != list(range(channels)) or computed != kinds:
            raise ScheduleError(
                f"tensor '{name}': its channels do not lie on columns of their kinds: quantise the "
                "network for this engine"
            )
        return positions
    queues = {kind: iter(places) for kind, places in free.items()}
    return tuple(next(queues[kind]) for kind in kinds)


def map_layout(
    tensor: QTensor,
    params: EngineParams,
    rows: int | None = None,
    beats: bool = False,
    byte_offset: int = 0,
) -> MapLayout:
    """Planes of a map or of `rows` of its rows; `beats` rounds the run up to whole AXI beats;
    byte_offset: of its first channel in its first plane."""
    height = tensor.height if rows is None else rows
    size = height * tensor.width
    word = params.in_channels
    plane = params.plane_words(size)
    one_byte = (-(-(byte_offset + tensor.channels) // word) - 1) * plane + size
    low = one_byte if tensor.format.bits == 16 else 0
    words = one_byte + low
    if beats:
        words += -words % params.beat_words
    return MapLayout(
        tensor=tensor.name,
        channels=tensor.channels,
        height=height,
        width=tensor.width,
        word_channels=word,
        plane=plane,
        low=low,
        words=words,
        positions=channel_positions(tensor, params),
        byte_offset=byte_offset,
    )
