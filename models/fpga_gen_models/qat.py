"""Quantisation-aware training: fine-tunes an ONNX network with the engine's numbers.

Example, one hour with the 4-bit mix of the paper, rows divided as the ZCU104's columns are:
    python -m fpga_gen_models.qat --model hardnet-mseg.onnx --board zcu104 --scheme msq4 \\
        --data kvasir clinicdb --out run --minutes 60
    fpga-gen build run/model.onnx --board zcu104 --scheme msq4 --array P,CI,CO_DSP,CO_SP2

with the array that metrics.json names (`array`): another one would divide the rows differently.

Training starts from what that build would make of the network without it. The output folder
receives what `python -m fpga_gen_models.train` writes, and at the end model.onnx: the network with
the quantisation of its maps (QDQ) and with weights on the grid of each row, which the compiler
takes over as they are. Weights that are zero stay zero: a pruned network stays pruned. Pictures are
held out as in `fpga_gen_models.train`; they calibrate nothing either.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from fpga_gen_models.needs import missing

try:
    import torch
except ImportError as error:
    missing(error, __name__)

from torch import nn

from fpga_gen.boards import find_board
from fpga_gen.builddir.config import BuildConfig
from fpga_gen.contract.column_kinds import COARSE, KINDS, weight_codes
from fpga_gen.contract.numerics import SCHEMES
from fpga_gen.contract.params import EngineParams
from fpga_gen.disk import replace_file
from fpga_gen.errors import FpgaGenError
from fpga_gen.frontend.labels import layer_labels
from fpga_gen.graph.ir import Graph
from fpga_gen.pipeline import Flow, check_options, choose_engine, import_model, optimise_graph
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.quant.quantise import quantise
from fpga_gen_host.host_ops import run_host_ops
from fpga_gen_models.augment import normalise
from fpga_gen_models.data import CachedPairs, DatasetPair, split_pairs, spread_subset
from fpga_gen_models.evaluate import evaluate
from fpga_gen_models.metrics import as_record
from fpga_gen_models.qat_export import graph_bytes
from fpga_gen_models.qat_graph import QuantNet
from fpga_gen_models.runstate import StopRequest, write_json
from fpga_gen_models.train import Trainer
from fpga_gen_models.train_config import TrainConfig, add_run_options, read_folders, run_config

log = logging.getLogger("fpga_gen_models.qat")

CALIBRATION_PICTURES = 16
#: rate: largest step of a weight, relative to the root mean square of its row
DEFAULTS = TrainConfig(
    scales=(1.0,), rate=2e-3, weight_decay=0.0, ema=0.99, cache_size=256, eval_minutes=15.0
)


def quantise_network(
    config: BuildConfig, pairs: Sequence[DatasetPair]
) -> tuple[Graph, QuantGraph, EngineParams]:
    """The compiler's float graph, its quantised form, calibrated on `pairs`, and the engine that a
    build with the same options chooses."""
    flow = Flow(config)
    for step in (check_options, import_model, optimise_graph, choose_engine):
        step(flow)
    graph, model = flow.graph, config.model
    channels, height, width = graph.host_input.model_shape
    zeros = {o: np.zeros(graph.tensors[o].shape) for o in graph.outputs}
    shapes = [value.shape for value in run_host_ops(graph, zeros).values()]
    if channels != 3 or height != width or shapes != [(1, 1, height, width)]:
        raise ValueError(
            f"{model}: needs one square input of three channels and one mask of its size, not "
            f"{channels} x {height} x {width} and {shapes}"
        )
    images = normalise(CachedPairs.load(pairs, height).images).numpy()
    qgraph = quantise(graph, flow.params, list(images), scheme=config.scheme, seed=config.seed)
    return graph, qgraph, flow.params


class QatTrainer(Trainer):
    """A run on a `QuantNet`; the rest is `fpga_gen_models.train`."""

    def __init__(
        self,
        config: TrainConfig,
        pairs: Sequence[DatasetPair],
        out: Path,
        graph: Graph,
        qgraph: QuantGraph,
        params: EngineParams,
        labels: Mapping[str, str],
    ) -> None:
        self.labels = labels
        bits = SCHEMES[qgraph.facts["scheme"]].fixed_bits
        self.source = (graph, qgraph, weight_codes(qgraph.sp2, bits))
        self.array = array_of(params)
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self.dtype = dtype
        super().__init__(replace(config, precision="fp32"), pairs, out)

    def new_model(self) -> nn.Module:
        return QuantNet(*self.source, self.dtype)

    def finish(self, init: Path | None) -> None:
        """Writes model.onnx, then metrics.json of the same weights, before and after training."""
        model = self.evaluated_model()
        assert isinstance(model, QuantNet)
        qgraph = self.source[1]
        model = model.cpu()
        graph = model.float_graph()
        replace_file(self.out / "model.onnx", graph_bytes(graph, qgraph, self.labels))
        model.dtype = torch.float32  # every sum exact, as on the engine
        found = {}
        for name, network in (("before", QuantNet(*self.source, torch.float32)), ("after", model)):
            result = evaluate(network, self.validation, size=self.config.size, batch=2)
            found[name] = {key: as_record(metrics) for key, metrics in result.items()}
            log.info("%s training, held-out pictures: %s", name, found[name])
        record = {
            "step": self.step,
            "minutes": round(self.clock.seconds() / 60, 1),
            "size": self.config.size,
            "scheme": qgraph.facts["scheme"],
            "array": self.array,
            **{f"{k.name}_mac_share": qgraph.facts[f"{k.name}_mac_share"] for k in COARSE},
            "training_pictures": len(self.data),
            "validation": found,
        }
        write_json(self.out / "metrics.json", record)


def array_of(params: EngineParams) -> list[int]:
    """The engine as the option --array takes it."""
    return list(params.figures)


def parse_array(text: str) -> tuple[int, ...]:
    """P,CI,CO_DSP,CO_SP2, further kinds of columns."""
    numbers = tuple(int(part) for part in text.split(","))
    if not 4 <= len(numbers) <= 2 + len(KINDS) or min(numbers) < 0:
        raise ValueError(text)
    return numbers


def parse_modes(text: str) -> tuple[int, ...]:
    """M,..."""
    return tuple(int(part) for part in text.split(","))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a training. Returns 0, or 1 if the input is at fault."""
    parser = argparse.ArgumentParser(
        prog="python -m fpga_gen_models.qat",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="float ONNX file")
    parser.add_argument("--board", required=True, help="gives the ratio of SP2 to fixed rows")
    parser.add_argument("--array", type=parse_array, help="as in fpga-gen build")
    parser.add_argument("--modes", type=parse_modes, help="as in fpga-gen build")
    parser.add_argument("--double-clock", action="store_true", help="as in fpga-gen build")
    parser.add_argument("--exit-pixels", type=int, choices=(1, 2), help="as in fpga-gen build")
    parser.add_argument("--scheme", choices=list(SCHEMES), default="msq4")
    add_run_options(parser, DEFAULTS)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        pairs = read_folders(args)
        training, _ = split_pairs(pairs, args.validation, args.salt)
        calibration = spread_subset(training, CALIBRATION_PICTURES)
        log.info("quantising %s on %d pictures", args.model.name, len(calibration))
        build = BuildConfig(
            args.model,
            find_board(args.board),
            array=args.array,
            modes=args.modes,
            double_clock=args.double_clock,
            exit_pixels=args.exit_pixels,
            scheme=args.scheme,
        )
        graph, qgraph, params = quantise_network(build, calibration)
        log.info("array %s: build the result with the same --array", array_of(params))
        size = graph.host_input.model_shape[1]
        config = replace(run_config(args), size=size, start_size=size, scales=(1.0,))
        args.out.mkdir(parents=True, exist_ok=True)
        trainer = QatTrainer(
            config, pairs, args.out, graph, qgraph, params, layer_labels(args.model)
        )
        trainer.start(None, args.resume)
    except (OSError, ValueError, FpgaGenError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_json(args.out / "config.json", asdict(config))
    trainer.run(StopRequest().install())
    trainer.finish(None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
