"""Quantisation-aware training: fine-tunes an ONNX network with the engine's numbers.

Example, one hour with the 4-bit mix of the paper, rows divided as the ZCU104's columns are:
    python -m models.qat --model hardnet-mseg.onnx --board zcu104 --scheme msq4 \\
        --data kvasir clinicdb --out run --minutes 60
    fpga-gen build run/model.onnx --board zcu104 --scheme msq4

It starts from what `fpga-gen build` would make of the network without training. The output folder
receives what `python -m models.train` writes, and at the end model.onnx: the network with the
quantisation of its maps (QDQ) and with weights on the grid of each row, which the compiler takes
over as they are. Pictures are held out as in `models.train`; they calibrate nothing either.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fpga_gen.boards import load_board
from fpga_gen.config import BuildConfig
from fpga_gen.errors import FpgaGenError
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.interpreter import run_host_ops
from fpga_gen.graph.ir import Graph
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.images import NORMALISATIONS
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.quant.numerics import SCHEMES
from fpga_gen.quant.quantise import quantise
from models.augment import normalise
from models.data import CachedPairs, Pair, find_pairs, split_pairs, spread_subset
from models.evaluate import evaluate
from models.metrics import as_record
from models.qat_export import write_graph
from models.qat_graph import QuantNet
from models.runstate import StopRequest, write_atomically, write_json
from models.train import TrainConfig, Trainer, add_run_options, run_config

log = logging.getLogger("models.qat")

CALIBRATION_PICTURES = 16
#: rate: largest step of a weight, relative to the root mean square of its row
DEFAULTS = TrainConfig(
    scales=(1.0,), rate=2e-3, weight_decay=0.0, ema=0.99, cache_size=256, eval_minutes=15.0
)


def quantise_network(
    model: Path, board: str, scheme: str, pairs: Sequence[Pair]
) -> tuple[Graph, QuantGraph]:
    """The compiler's float graph of an ONNX file and its quantised form, calibrated on `pairs`."""
    config = BuildConfig(model, board, scheme=scheme)
    graph = optimise(import_onnx(model), NORMALISATIONS[config.preprocess.normalise])
    channels, height, width = graph.host_input.model_shape
    zeros = {o: np.zeros(graph.tensors[o].shape) for o in graph.outputs}
    shapes = [value.shape for value in run_host_ops(graph, zeros).values()]
    if channels != 3 or height != width or shapes != [(1, 1, height, width)]:
        raise ValueError(
            f"{model}: needs one square input of three channels and one mask of its size, not "
            f"{channels} x {height} x {width} and {shapes}"
        )
    images = normalise(CachedPairs.load(pairs, height).images).numpy()
    params = config.resolve_params(load_board(board))
    return graph, quantise(graph, params, list(images), scheme=scheme, seed=config.seed)


class QatTrainer(Trainer):
    """A run on a `QuantNet`; the rest is `models.train`."""

    def __init__(
        self,
        config: TrainConfig,
        pairs: Sequence[Pair],
        out: Path,
        graph: Graph,
        qgraph: QuantGraph,
        scheme: str,
    ) -> None:
        self.source = (graph, qgraph, SCHEMES[scheme].fixed_top)
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
        write_atomically(
            self.out / "model.onnx", lambda path: write_graph(model.float_graph(), qgraph, path)
        )
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
            "sp2_mac_share": qgraph.facts["sp2_mac_share"],
            "training_pictures": len(self.data),
            "validation": found,
        }
        write_json(self.out / "metrics.json", record)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a training. Returns 0, or 1 if the input is at fault."""
    parser = argparse.ArgumentParser(
        prog="python -m models.qat",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="float ONNX file")
    parser.add_argument("--board", required=True, help="gives the ratio of SP2 to fixed rows")
    parser.add_argument("--scheme", choices=list(SCHEMES), default="msq4")
    add_run_options(parser, DEFAULTS)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        pairs = [pair for folder in args.data for pair in find_pairs(folder)]
        training, _ = split_pairs(pairs, args.validation, args.salt)
        calibration = spread_subset(training, CALIBRATION_PICTURES)
        log.info("quantising %s on %d pictures", args.model.name, len(calibration))
        graph, qgraph = quantise_network(args.model, args.board, args.scheme, calibration)
        size = graph.host_input.model_shape[1]
        config = replace(run_config(args), size=size, start_size=size, scales=(1.0,))
        args.out.mkdir(parents=True, exist_ok=True)
        trainer = QatTrainer(config, pairs, args.out, graph, qgraph, args.scheme)
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
