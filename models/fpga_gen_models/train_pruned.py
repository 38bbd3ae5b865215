"""Training while weight slots go, until a frame is fast enough on every engine that was named.

    python -m fpga_gen_models.train_pruned --init start.pth --data kvasir clinicdb --out run \\
        --minutes 60 --goal zcu104:8,16,24,18=1270000 --goal zcu104:8,16,48,12:double=1000000

A goal is BOARD:P,CI,CO_DSP,CO_SP2[:double]=CYCLES of a frame with maps of 8 bits. Weights that are
zero at the beginning stay so. Over the first part of the run the cycles fall to the goals, on a
cubic curve (Zhu and Gupta, arXiv 1710.01878): in every round the compiler says which slots there
are, in the order of channels that it chooses now, and those go that lose least for each cycle. What
a slot loses is the squared sum of weight x gradient over it, averaged over the steps since the last
round. The rest of the run trains with the zeros fixed; at its end the BatchNorms are measured anew
on pictures of the final size. The output folder is that of
`fpga_gen_models.train`; `fpga-gen models export` makes the ONNX file.
"""

import argparse
import json
import logging
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fpga_gen_models.needs import missing

try:
    import torch
except ImportError as error:
    missing(error, __name__)

from torch import Tensor, nn

from fpga_gen.builddir.config import BuildConfig
from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import Conv, Graph
from fpga_gen.pipeline import Flow, check_options, choose_engine, import_model, optimise_graph
from fpga_gen.pruning.flow import OVERSHOOT
from fpga_gen.pruning.onnx_weights import OnnxWeights
from fpga_gen.quant.zero_order import slot_groups
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import Timing, board_timing
from fpga_gen.sizing.standin import standin
from fpga_gen.sizing.sums import with_cheap_sums
from fpga_gen_models.augment import normalise
from fpga_gen_models.data import CachedPairs, DatasetPair, spread_subset
from fpga_gen_models.export import write_onnx
from fpga_gen_models.qat import parse_array
from fpga_gen_models.runstate import autocast, write_json
from fpga_gen_models.train import Trainer, run_trainer
from fpga_gen_models.train_config import TrainConfig, add_run_options
from fpga_gen_models.transform import fold_batchnorm

log = logging.getLogger("fpga_gen_models.train_pruned")

MEMORY = 0.9  # of the average of what a slot loses
TRIES = 6  # of a round to meet its cycles
NORM_PICTURES = 128  # for the statistics of the BatchNorms at the end


@dataclass(frozen=True)
class Goal:
    """An engine and the cycles of a frame on it."""

    board: str
    array: tuple[int, ...]
    double_clock: bool
    cycles: int

    @classmethod
    def parse(cls, text: str) -> "Goal":
        engine, cycles = text.split("=")
        board, array, *double = engine.split(":")
        if double not in ([], ["double"]):
            raise ValueError(text)
        return cls(board, parse_array(array), bool(double), int(cycles))


@dataclass(frozen=True, eq=False)
class LayerSlots:
    """The slots of one layer for a goal: groups x planes x taps. filters, inputs: the group and the
    plane of each; cycles: (groups,) of one slot; loss: averaged so far."""

    filters: Tensor
    inputs: Tensor
    cycles: Tensor
    loss: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """Of (filters, inputs, taps), for each slot."""
        groups, planes, taps = self.loss.shape
        rows = values.new_zeros(groups, values.shape[1], taps).index_add_(0, self.filters, values)
        return values.new_zeros(groups, planes, taps).index_add_(1, self.inputs, rows)

    def spread(self, slots: Tensor) -> Tensor:
        """(filters, inputs, taps) of a value for each slot."""
        return slots[self.filters][:, self.inputs]


def read_graph(model: Path, layers: Collection[str]) -> tuple[Graph, dict[str, int]]:
    """The compiler's graph of an exported network, and which node each of the layers is that it
    takes as they are."""
    flow = Flow(BuildConfig(model, "zcu104"))
    import_model(flow)
    optimise_graph(flow)
    weights = OnnxWeights(model)
    nodes = {}
    for number, node in enumerate(flow.graph.nodes):
        if isinstance(node, Conv) and (own := weights.of(node)) is not None:
            layer = own.names[0].removesuffix(".weight")
            if layer in layers:
                nodes[layer] = number
    return flow.graph, nodes


class SlotPruner:
    """One goal: the compiler's view of the masks of a network. nodes: of each layer."""

    def __init__(self, goal: Goal, model: Path, graph: Graph, nodes: dict[str, int]) -> None:
        self.goal, self.graph, self.nodes = goal, graph, nodes
        config = BuildConfig(model, goal.board, array=goal.array, double_clock=goal.double_clock)
        flow = Flow(config)
        flow.graph = graph
        check_options(flow)
        choose_engine(flow)
        self.params: EngineParams = flow.params
        self.timing: Timing = board_timing(flow.memory_rate)
        self.slots: dict[str, LayerSlots] = {}
        self.steps = 0

    def see(self, masks: dict[str, Tensor]) -> int:
        """Takes over the zeros. Returns the cycles of a frame."""
        nodes = list(self.graph.nodes)
        for layer, number in self.nodes.items():
            node = nodes[number]
            assert isinstance(node, Conv)
            weight = masks[layer].numpy().astype(np.float32)
            nodes[number] = replace(node, terms=(replace(node.terms[0], weight=weight),))
        self.graph = replace(self.graph, nodes=tuple(nodes))
        network = standin(self.graph, self.params)
        network = with_cheap_sums(self.graph, network, self.params, self.timing, True)
        return compile_schedule(network, self.params, self.timing).estimate.cycles

    def regroup(self) -> None:
        """The slots of the present zeros; what they lose is forgotten."""
        layers = {number: layer for layer, number in self.nodes.items()}
        groups: dict[str, list] = {}
        for group in slot_groups(self.graph, self.params):
            if group.node in layers:
                groups.setdefault(layers[group.node], []).append(group)
        self.slots, self.steps = {}, 0
        for layer, found in groups.items():
            node = self.graph.nodes[self.nodes[layer]]
            assert isinstance(node, Conv)
            shape = node.terms[0].weight.shape
            filters, inputs = torch.zeros(shape[0]).long(), torch.zeros(shape[1]).long()
            for number, group in enumerate(found):
                filters[list(group.filters)] = number
            for number, plane in enumerate(found[0].planes):
                inputs[list(plane)] = number
            size = (len(found), len(found[0].planes), int(np.prod(shape[2:])))
            cycles = torch.tensor([float(g.cycles) for g in found])
            self.slots[layer] = LayerSlots(filters, inputs, cycles, torch.zeros(size))

    def accumulate(self, products: dict[str, Tensor]) -> None:
        """products: weight x gradient of a step, (filters, inputs, taps) by layer."""
        self.steps += 1
        share = max(1 - MEMORY, 1 / self.steps)
        for layer, slots in self.slots.items():
            slots.loss.lerp_(slots.sums(products[layer]).square(), share)

    def prune(self, masks: dict[str, Tensor], cycles: int, target: float) -> int:
        """Zeros in `masks` until the frame takes `target` cycles. Returns those it takes."""
        ranked: list[tuple[str, Tensor]] = []
        for layer, slots in self.slots.items():
            live = slots.sums(masks[layer].flatten(2).float()) > 0
            worth = slots.loss / slots.cycles[:, None, None]
            ranked.append((layer, torch.where(live, worth, torch.inf)))
        flat = torch.cat([w.flatten() for _, w in ranked])
        saved = torch.cat([
            self.slots[layer].cycles[:, None, None].expand_as(w).flatten() for layer, w in ranked
        ])  # fmt: skip
        order = flat.argsort()
        sums = saved[order].cumsum(0)
        start, wanted, yields = cycles, 0.0, 1.0  # the frame's share of what the array saves
        for _ in range(TRIES):
            if cycles <= target:
                break
            if wanted:
                yields = max(0.2, (start - cycles) / wanted)
            wanted = max(wanted, OVERSHOOT * (start - target) / yields)
            count = int((sums < wanted).sum()) + 1
            going = torch.zeros_like(flat, dtype=torch.bool)
            going[order[:count]] = True
            going &= flat < torch.inf
            first = 0
            for layer, worth in ranked:
                gone = going[first : first + worth.numel()].view_as(worth)
                first += worth.numel()
                masks[layer] &= ~self.slots[layer].spread(gone).view_as(masks[layer])
            cycles = self.see(masks)
        return cycles


class PrunedTrainer(Trainer):
    """A run whose zero weights stay zero and become more. rounds: of pruning; share: of the run
    after which the last one is over."""

    def __init__(
        self,
        config: TrainConfig,
        pairs: Sequence[DatasetPair],
        out: Path,
        goals: Sequence[Goal],
        rounds: int = 8,
        share: float = 0.4,
    ) -> None:
        super().__init__(config, pairs, out)
        self.goals, self.rounds, self.share = goals, rounds, share
        self.layers = {n: m for n, m in self.model.named_modules() if isinstance(m, nn.Conv2d)}

    def start(self, init: Path | None, resume: bool) -> None:
        super().start(init, resume)
        self.masks = {n: (m.weight.detach() != 0).cpu() for n, m in self.layers.items()}
        self.on_device = self.masks
        with tempfile.TemporaryDirectory(prefix="fpga-gen-") as folder:
            path = Path(folder) / "model.onnx"
            plain = fold_batchnorm(self.evaluated_model().cpu().float())
            write_onnx(plain, path, self.config.size, "torchscript")
            graph, nodes = read_graph(path, self.masks)
            self.pruners = [SlotPruner(goal, path, graph, nodes) for goal in self.goals]
        self.cycles = [pruner.see(self.masks) for pruner in self.pruners]
        log.info("%s cycles, to become %s", self.cycles, [goal.cycles for goal in self.goals])
        memory = self.out / "cycles.json"  # weights tell the zeros, not what there was before
        if not (resume and memory.exists()):
            write_json(memory, {"first": self.cycles})
        self.first = json.loads(memory.read_text())["first"]
        self.round = 0
        while self.round < self.rounds and all(
            now <= target for now, target in zip(self.cycles, self.targets(), strict=True)
        ):
            self.round += 1
        for pruner in self.pruners:
            pruner.regroup()
        self.hold()

    def targets(self) -> list[float]:
        """Cycles of the goals after the next round."""
        left = (1 - (self.round + 1) / self.rounds) ** 3
        return [
            goal.cycles + max(0, first - goal.cycles) * left
            for goal, first in zip(self.goals, self.first, strict=True)
        ]

    def hold(self) -> None:
        """Zeros of the masks into weights and averages."""
        self.on_device = {n: m.to(self.device) for n, m in self.masks.items()}
        self.after_update()
        if self.average is not None:
            for name, mask in self.on_device.items():
                self.average.state[f"{name}.weight"].mul_(mask)

    @torch.no_grad()
    def before_update(self) -> None:
        if self.round >= self.rounds:
            return
        products = {
            n: (m.weight * m.weight.grad).flatten(2).float().cpu()
            for n, m in self.layers.items()
            if m.weight.grad is not None
        }
        for pruner in self.pruners:
            pruner.accumulate(products)
        if self.progress() >= self.share * (self.round + 1) / self.rounds:
            self.next_round()

    @torch.no_grad()
    def after_update(self) -> None:
        for name, layer in self.layers.items():
            layer.weight.mul_(self.on_device[name])

    def next_round(self) -> None:
        """Prunes for every goal, to its cycles at this part of the run."""
        for pruner, target in zip(self.pruners, self.targets(), strict=True):
            pruner.prune(self.masks, pruner.see(self.masks), target)
        self.cycles = [pruner.see(self.masks) for pruner in self.pruners]
        self.round += 1
        kept = sum(int(m.sum()) for m in self.masks.values())
        log.info(
            "step %d, round %d: %s cycles, %d weights", self.step, self.round, self.cycles, kept
        )
        self.hold()
        if self.round < self.rounds:
            for pruner in self.pruners:
                pruner.regroup()

    def finish(self, init: Path | None) -> None:
        """Measures the norms anew at the size of the network's pictures, then as every run."""
        pairs = spread_subset(self.data.pairs, NORM_PICTURES)
        model = self.evaluated_model()
        measure_norms(model, pairs, self.config, self.device)
        state = model.state_dict()
        self.model.load_state_dict(state)
        if self.average is not None:
            self.average.state = state
        super().finish(init)


@torch.no_grad()
def measure_norms(
    model: nn.Module, pairs: Sequence[DatasetPair], config: TrainConfig, device: torch.device
) -> None:
    """Gives every BatchNorm the mean statistics of `pairs` at `config.size`. Those of small
    batches, of other sizes or from before slots went fit badly: most of what pruning loses at first
    is this."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None
    model.train()
    for first in range(0, len(pairs), 2 * config.batch):
        images = CachedPairs.load(pairs[first : first + 2 * config.batch], config.size).images
        pictures = normalise(images.to(device)).contiguous(memory_format=torch.channels_last)
        with autocast(device, config.precision):
            model(pictures)
    model.eval()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a training. Returns 0, or 1 if the input is at fault."""
    parser = argparse.ArgumentParser(
        prog="python -m fpga_gen_models.train_pruned",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--init", type=Path, required=True, help="a checkpoint, or an ONNX file")
    parser.add_argument(
        "--goal", type=Goal.parse, action="append", required=True, metavar="ENGINE=CYCLES",
        help="an engine and the cycles of a frame on it; may be given several times",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=8, help="of pruning  [default: 8]")
    parser.add_argument(
        "--share", type=float, default=0.4,
        help="part of the run after which the last round is over  [default: 0.4]",
    )  # fmt: skip
    add_run_options(parser, TrainConfig())
    args = parser.parse_args(argv)

    def make(config: TrainConfig, pairs: Sequence[DatasetPair], out: Path) -> PrunedTrainer:
        return PrunedTrainer(config, pairs, out, args.goal, args.rounds, args.share)

    return run_trainer(args, make)


if __name__ == "__main__":
    raise SystemExit(main())
