"""What the mapped netlist says about the clock: logic depth, and an estimate in picoseconds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

HOP_DELAYS = (300, 400, 500)  # ps; the clocks that the report names are those reachable at these
# What a path should leave for each net hop. UltraScale+: a wire to a neighbour takes about 100 ps,
# one long wire each way 270, two each way 400; at three quarters of the LUTs 400 to 500 is what a
# router gives. 7 series: as measured of routed blocks.
WANTED_PS = {"xcup": 500, "xc7": 900}
FLIP_FLOPS_PER_SET = 8  # that share a clock, an enable and a reset in a slice (UG474, UG574)
MARGIN = 0.8  # of that: below it the clock is called out of reach


@dataclass(frozen=True)
class PathFacts:
    """A path between two registers. block: class of the block where it ends; domain: "engine
    clock", "double clock", or "crossing" between them; cell_ps, hops: of the line that allows the
    least; allowed_ps_per_hop: at the report's clock; mhz_at_ps_per_hop: highest clock of the
    engine by delay of a hop."""

    block: str
    domain: str
    start: str
    end: str
    cell_ps: int
    hops: int
    allowed_ps_per_hop: float
    mhz_at_ps_per_hop: dict[str, float]


@dataclass(frozen=True)
class TimingFacts:
    """Deepest path between two registers of the mapped netlist, in levels: a LUT is one, a carry
    chain of up to 16 bits two. wide_nets: nets with more than `fan_out_limit` loads; widest: loads
    of the widest net, `widest_net`; control_sets: clocks with an enable and a reset that flip-flops
    take (0: of a report that did not tell). All of these are of the kind
    `depth_kind`.

    What follows is of the kind `kind`, from cell delays and a number of net hops, without placing
    anything. clock_mhz: the clock assumed (0: the report did not tell); allowed_ps_per_hop: what
    every net hop may take on the worst path; wanted_ps_per_hop: what it should be; pairs,
    tight_pairs: pairs of registers, and those of them that allow less (0: not counted); paths: the
    ten worst; classes: the worst path of every class of block in every clock domain; delays: where
    the cell delays come from.
    """

    worst_levels: int
    start: str
    end: str
    wide_nets: int
    fan_out_limit: int
    widest: int = 0
    widest_net: str = ""
    control_sets: int = 0
    depth_kind: str = "synthesised"
    kind: str = "estimated"
    clock_mhz: float = 0.0
    allowed_ps_per_hop: float = 0.0
    wanted_ps_per_hop: int = 0
    mhz_at_ps_per_hop: dict[str, float] = field(default_factory=dict)
    pairs: int = 0
    tight_pairs: int = 0
    paths: tuple[PathFacts, ...] = ()
    classes: tuple[PathFacts, ...] = ()
    delays: str = ""


CLASS_HEAD = ("block", "clock", "cell ps", "hops", "ps allowed per hop",
              *(f"MHz at {h} ps" for h in HOP_DELAYS))  # fmt: skip
PATH_HEAD = ("from", "to", "cell ps", "hops", "ps allowed per hop")


def class_rows(timing: TimingFacts) -> list[tuple[str, ...]]:
    """One row below CLASS_HEAD for each class of path, worst first."""
    return [
        (p.block, p.domain, *_figures(p))
        + tuple(f"{p.mhz_at_ps_per_hop[str(h)]:.0f}" for h in HOP_DELAYS)
        for p in timing.classes
    ]


def path_rows(timing: TimingFacts) -> list[tuple[str, ...]]:
    """One row below PATH_HEAD for each of the worst paths."""
    return [(readable(p.start), readable(p.end), *_figures(p)) for p in timing.paths]


def readable(name: str) -> str:
    """The name of a place without what Yosys made up for it: a.b.$abc$12$x (RAMB18E2) is
    a.b (RAMB18E2)."""
    return re.sub(r"[./]\$\S+", "", name)


def _figures(path: PathFacts) -> tuple[str, str, str]:
    return f"{path.cell_ps:,}", str(path.hops), f"{path.allowed_ps_per_hop:.0f}"


def clock_verdict(timing: TimingFacts | None, clock_mhz: float) -> str:
    """The clock that all rates assume, and what the estimate thinks of it."""
    assumed = f"{clock_mhz:g} MHz assumed, not proven by place-and-route"
    if timing is None or not timing.clock_mhz:
        return f"{assumed}; no estimate yet: `fpga-gen synth DIR`"
    allowed, wanted = timing.allowed_ps_per_hop, timing.wanted_ps_per_hop
    word = "within reach"
    if allowed < wanted:
        word = "tight" if allowed >= MARGIN * wanted else "out of reach"
    verdict = (
        f"{assumed}; estimate: {word}, the worst path leaves {allowed:.0f} ps for each net hop, "
        f"{wanted} are wanted"
    )
    if allowed < wanted:
        verdict += f" ({timing.mhz_at_ps_per_hop[str(wanted)]:.0f} MHz)"
    return verdict


def depth_line(timing: TimingFacts | None, flip_flops: int = 0) -> str:
    """Depth of the mapped netlist in one sentence; flip_flops: of the device."""
    if timing is None:
        return "Logic depth is not known yet: `fpga-gen synth DIR`."
    widest = f", the widest {timing.widest} (`{timing.widest_net}`)" if timing.widest else ""
    sets = f"; {timing.control_sets:,} control sets" if timing.control_sets else ""
    if flip_flops and sets:
        sets += (
            f", {100 * FLIP_FLOPS_PER_SET * timing.control_sets / flip_flops:.1f} % of the device's"
        )
    start, end = readable(timing.start), readable(timing.end)
    return (
        f"Deepest path ({timing.depth_kind}): {timing.worst_levels} levels from `{start}` to "
        f"`{end}`; {timing.wide_nets} nets with more than {timing.fan_out_limit} loads"
        f"{widest}{sets}."
    )


def estimate_line(timing: TimingFacts) -> str:
    """The estimate as a whole, in two sentences."""
    clocks = ", ".join(f"{timing.mhz_at_ps_per_hop[str(h)]:.0f} MHz at {h}" for h in HOP_DELAYS)
    tight = ""
    if timing.pairs:
        tight = (
            f"; {timing.tight_pairs:,} of {timing.pairs:,} pairs of registers allow less than "
            f"{timing.wanted_ps_per_hop}"
        )
    return (
        f"At {timing.clock_mhz:g} MHz the worst path allows {timing.allowed_ps_per_hop:.0f} ps for "
        f"each net hop; reachable: {clocks} ps a hop{tight}. Cell delays: {timing.delays}."
    )
