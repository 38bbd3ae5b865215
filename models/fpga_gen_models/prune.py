"""Compiler-aware pruning: zeros in the weight slots of an engine until a frame is fast enough.

    python -m fpga_gen_models.prune --model hardnet-mseg.onnx --board zcu104 --array 8,16,24,18 \\
        --calibration PICTURES --cycles 1300000 --out pruned.onnx

The compiler says which slots there are (the inputs of a plane x the filters of a column group x one
tap, in the order of channels that it would choose) and what each costs; slots are given up by what
they lose for each cycle, as in HALP (Shen et al., NeurIPS 2022), until the schedule of the whole
network meets the target. What a slot loses is the power of what its weights contribute on the
calibration pictures, as a share of its map's signal; the mean of it goes into the bias. Nothing is
trained here, and a network loses much by it (models/pretrained/README.md):
`python -m fpga_gen_models.qat` trains what comes out and leaves its zeros. Needs no PyTorch.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from fpga_gen.boards import find_board
from fpga_gen.builddir.config import BuildConfig
from fpga_gen.contract.params import EngineParams
from fpga_gen.disk import replace_file
from fpga_gen.errors import FpgaGenError
from fpga_gen.graph.ir import Conv, Graph
from fpga_gen.pipeline import (
    Flow,
    check_options,
    choose_engine,
    import_model,
    optimise_graph,
    read_calibration,
)
from fpga_gen.quant.calibrate import Calibration, calibrate
from fpga_gen.quant.kinds import channel_gains
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.zero_order import SlotGroups, slot_groups
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import board_timing
from fpga_gen.sizing.standin import standin
from fpga_gen.sizing.sums import with_cheap_sums

log = logging.getLogger("fpga_gen_models.prune")

ROUNDS = 8  # of choosing slots and making the schedule
OVERSHOOT = 1.02  # a slot saves less than its own cycles: tails, exit path


@dataclass(frozen=True, eq=False)
class PrunableSlot:
    """One weight slot that may go. node: its layer in the graph; loss: share of the signal power of
    the layer's map; cycles: saved."""

    node: int
    filters: np.ndarray
    inputs: np.ndarray
    tap: int
    loss: float
    cycles: float


class Pruner:
    """A graph whose weights become zero slot by slot."""

    def __init__(self, graph: Graph, params: EngineParams, calibration: Calibration) -> None:
        self.params = params
        self.graph = graph
        self.moments = calibration.moments
        self.gains = channel_gains(graph)

    def candidates(self, fixed: set[str]) -> list[PrunableSlot]:
        """Every slot with weights of the present network; fixed: names of layers that keep them."""
        found: list[PrunableSlot] = []
        for group in slot_groups(self.graph, self.params):
            node = self.graph.nodes[group.node]
            assert isinstance(node, Conv)
            if node.name not in fixed:
                found += self._of_group(node, group)
        return found

    def _of_group(self, node: Conv, group: SlotGroups) -> list[PrunableSlot]:
        (term,) = node.terms
        weight = term.weight.reshape(*term.weight.shape[:2], -1)
        moments, gain = self.moments[node.name], self.gains[node.output]
        power = (moments.variance + np.square(moments.mean)).reshape(weight.shape[1:])
        energy = np.square(weight) * power  # (F, C, taps)
        signal = max(float((energy.sum((1, 2)) * gain).sum()), 1e-30)
        out = []
        filters = np.array(group.filters)
        for plane in group.planes:
            inputs = np.array(plane)
            lost = (energy[np.ix_(filters, inputs)].sum(1) * gain[filters, None]).sum(0)
            live = weight[np.ix_(filters, inputs)].any((0, 1))
            out += [
                PrunableSlot(group.node, filters, inputs, int(tap),
                          float(lost[tap]) / signal, group.cycles)
                for tap in np.flatnonzero(live)
            ]  # fmt: skip
        return out

    def remove(self, slots: Sequence[PrunableSlot]) -> None:
        """The graph without the weights of some slots; their mean goes into the bias."""
        nodes = list(self.graph.nodes)
        for number in sorted({s.node for s in slots}):
            node = nodes[number]
            assert isinstance(node, Conv)
            (term,) = node.terms
            weight = term.weight.reshape(*term.weight.shape[:2], -1).copy()
            bias = node.bias.astype(np.float64)
            mean = self.moments[node.name].mean.reshape(weight.shape[1:])
            for slot in (s for s in slots if s.node == number):
                place = np.ix_(slot.filters, slot.inputs, np.array([slot.tap]))
                bias[slot.filters] += (weight[place][..., 0] * mean[slot.inputs, slot.tap]).sum(1)
                weight[place] = 0
            changed = replace(term, weight=weight.reshape(term.weight.shape))
            nodes[number] = replace(node, terms=(changed,), bias=bias.astype(np.float32))
        self.graph = replace(self.graph, nodes=tuple(nodes))


def choose(candidates: Sequence[PrunableSlot], cycles: float) -> list[PrunableSlot]:
    """The slots that save `cycles` with the least loss for each of them."""
    chosen, saved = [], 0.0
    for slot in sorted(candidates, key=lambda s: s.loss / s.cycles):
        if saved >= cycles:
            break
        chosen.append(slot)
        saved += slot.cycles
    return chosen


class OnnxWeights:
    """The convolution weights of an ONNX file by node name, to be changed in place."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path)
        graph = self.model.graph
        self.tensors = {t.name: t for t in graph.initializer}
        sources = {n.output[0]: n for n in graph.node}
        uses = [name for n in graph.node for name in n.input]
        self.names: dict[str, tuple[str, ...]] = {}  # node: initialisers of weight and bias
        for node in graph.node:
            if node.op_type != "Conv":
                continue
            names = []
            for name in node.input[1:3]:
                while name in sources and sources[name].op_type == "Cast":
                    name = sources[name].input[0]
                names.append(name)
            if all(n in self.tensors and uses.count(n) == 1 for n in names):
                self.names[node.name] = tuple(names)

    def fits(self, node: Conv) -> bool:
        """Whether a layer of the graph has one convolution of the file, zeros in equal places."""
        if len(node.terms) != 1 or node.terms[0].groups > 1:
            return False
        names = self.names.get(node.name) or self.names.get(node.onnx_name)
        if names is None:
            return False
        weight = numpy_helper.to_array(self.tensors[names[0]])
        mine = node.terms[0].weight
        return weight.shape == mine.shape and bool(np.array_equal(weight != 0, mine != 0))

    def update(self, before: Conv, after: Conv) -> None:
        """Zeros of a layer into the file, and the change of its bias."""
        names = self.names.get(before.name) or self.names[before.onnx_name]
        changes = (
            lambda array: np.where(after.terms[0].weight != 0, array, 0),
            lambda array: array + (after.bias - before.bias),
        )
        for name, change in zip(names, changes, strict=False):  # a layer may have no bias
            tensor = self.tensors[name]
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(change(array).astype(array.dtype), name))


def prune(flow: Flow, weights: OnnxWeights, target: int) -> Graph:
    """The graph with enough zeros that its schedule takes at most `target` cycles.

    Raises ValueError if ROUNDS of pruning do not get there."""
    graph, params = flow.graph, flow.params
    assert flow.images is not None
    calibration = calibrate(graph, flow.images, options=QuantOptions(compensate=False))
    convs = [n for n in graph.nodes if isinstance(n, Conv)]
    fixed = {n.name for n in convs if not weights.fits(n)}
    if len(fixed) == len(convs):
        raise ValueError("no layer has float weights of its own in the file: prune before int8")
    log.info("array %s: train and build with it", params.figures_text)
    pruner = Pruner(graph, params, calibration)
    timing = board_timing(flow.memory_rate)
    for number in range(ROUNDS):
        network = standin(pruner.graph, params)
        network = with_cheap_sums(pruner.graph, network, params, timing, True)
        cycles = compile_schedule(network, params, timing).estimate.cycles
        log.info("round %d: %d cycles, target %d", number, cycles, target)
        if cycles <= target:
            return pruner.graph
        pruner.remove(choose(pruner.candidates(fixed), (cycles - target) * OVERSHOOT))
    raise ValueError(
        f"{target} cycles were not reached, {cycles} were: train with pruning, or ask for less"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fpga_gen_models.prune", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--model", type=Path, required=True, help="float ONNX file")
    parser.add_argument("--board", required=True, help="see `fpga-gen boards`")
    parser.add_argument(
        "--array", help="pixels, inputs, DSP columns, SP2 columns  [default: the best]"
    )
    parser.add_argument("--double-clock", action="store_true", help="as in fpga-gen build")
    parser.add_argument("--calibration", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--cycles", type=int, required=True, help="of one frame, at most")
    parser.add_argument("--out", type=Path, required=True, help="ONNX file to write")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    array = options.array and tuple(int(v) for v in options.array.split(","))
    try:
        config = BuildConfig(
            options.model, find_board(options.board), calibration=options.calibration,
            array=array or None, double_clock=options.double_clock,
        )  # fmt: skip
        flow = Flow(config)
        for step in (check_options, import_model, optimise_graph, read_calibration, choose_engine):
            step(flow)
        weights = OnnxWeights(options.model)
        pruned = prune(flow, weights, options.cycles)
    except (FpgaGenError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for before, after in zip(flow.graph.nodes, pruned.nodes, strict=True):
        if before is not after:
            assert isinstance(before, Conv)
            assert isinstance(after, Conv)
            weights.update(before, after)
    data = weights.model.SerializeToString(deterministic=True)
    replace_file(options.out, lambda stream: stream.write(data))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
