"""Costs, depth and fan-out of a whole accelerator, from its modules mapped once each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from fpga_gen.synth.cells import Cost
from fpga_gen.synth.control_sets import ControlSets, control_sets
from fpga_gen.synth.delays import Delays
from fpga_gen.synth.levels import FanOut, ModuleTiming, Outside, Path, analyse
from fpga_gen.synth.modules import Hierarchy
from fpga_gen.synth.netlist import Netlist
from fpga_gen.synth.packing import shared_sites


@dataclass(frozen=True)
class Block:
    """One distinct module: copies in the design, cost of one copy without what it places (LUTs as
    sites, see packing.py)."""

    name: str
    digest: str
    copies: int
    cost: Cost
    timing: ModuleTiming


@dataclass(frozen=True)
class MappedDesign:
    """blocks: by module name, in the order children before parents; control_sets: of the whole."""

    top: str
    blocks: Mapping[str, Block]
    control_sets: int = 0

    @property
    def digest(self) -> str:
        """Digest of the whole design's Verilog."""
        return self.blocks[self.top].digest

    @cached_property
    def cost(self) -> Cost:
        """Primitives of the whole design."""
        return sum((b.cost * b.copies for b in self.blocks.values()), Cost())

    @cached_property
    def worst(self) -> Path:
        """Deepest path between two registers, with the names of the module in front."""
        block = max(self.blocks.values(), key=lambda b: b.timing.worst.levels)
        path = block.timing.worst
        return replace(path, start=f"{block.name}/{path.start}", end=f"{block.name}/{path.end}")

    def paths(self, above: int) -> list[tuple[Block, Path]]:
        """Paths of more than `above` levels, deepest first."""
        found = [(b, p) for b in self.blocks.values() for p in b.timing.paths if p.levels > above]
        return sorted(found, key=lambda item: -item[1].levels)

    @property
    def widest(self) -> FanOut:
        """Net with the most loads, with the name of the module in front."""
        block, net = self.wide_nets(0)[0]
        return replace(net, net=f"{block.name}/{net.net}")

    def wide_nets(self, above: int) -> list[tuple[Block, FanOut]]:
        """Nets with more than `above` loads, widest first; those of the top's pins as well."""
        found = [(b, f) for b in self.blocks.values() for f in b.timing.fan_out if f.loads > above]
        top = self.blocks[self.top]
        found += [(top, f) for f in top.timing.outside.fan_out if f.loads > above]
        return sorted(found, key=lambda item: -item[1].loads)


def analyse_design(
    hierarchy: Hierarchy, netlists: Mapping[str, Netlist], top: str, delays: Delays | None = None
) -> MappedDesign:
    """Every module under `top`, children first; equal modules are analysed once. delays: of the
    cells, without them those of UltraScale+."""
    copies = hierarchy.counts(top)
    outside: dict[str, Outside] = {}
    done: dict[str, ModuleTiming] = {}
    costs: dict[str, Cost] = {}
    sets: dict[str, ControlSets] = {}  # as `outside`
    blocks = {}
    for name in hierarchy.modules:
        if not copies[name]:
            continue
        digest = hierarchy.digests[name]
        if digest not in done:
            done[digest] = analyse(netlists[name], outside, delays=delays)
            sets[f"@{digest}"] = control_sets(netlists[name], sets)
        outside[f"@{digest}"] = done[digest].outside
        if digest not in costs:
            costs[digest] = netlists[name].cost + Cost(lut=-shared_sites(netlists[name].cells))
        blocks[name] = Block(name, digest, copies[name], costs[digest], done[digest])
    return MappedDesign(top, blocks, sets[f"@{hierarchy.digests[top]}"].total)
