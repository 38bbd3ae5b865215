"""ONNX files: a valid model with some changes; what is accepted computes what onnxruntime does."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx.checker import ValidationError
from onnx.reference import ReferenceEvaluator

from fpga_gen.errors import FpgaGenError, ScheduleError, UnsupportedModel
from fpga_gen.frontend.importer import examine_onnx
from fpga_gen.frontend.problems import problems_error
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Graph
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.graph.verify import verify
from fpga_gen.quant.interpreter import quantise_input, run_integer
from fpga_gen.quant.quantise import quantise
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.execute.interpreter import run_schedule
from fpga_gen.sizing.choose import for_network
from fpga_gen.worker import Limits, run_limited
from fpga_gen_host.host_ops import run_host_ops
from tests.engines import SMALL
from tests.frontend.onnx_models import model_array, run_reference
from tests.fuzz.campaign import Different
from tests.fuzz.dialects import DIALECTS
from tests.fuzz.model_changes import CHANGES
from tests.fuzz.networks import drawn, known

LIMITS = Limits(10, 2 << 30)
COMPILED = 0.3  # of what agrees with onnxruntime
TOLERANCE = 1e-3  # of the largest value of an output
ROUNDING = np.float32(1e-6)  # of maps in float, behind which host operators may jump


def mutated(rng: random.Random) -> bytes:
    """A file: a network, drawn or known, with up to three changes, sometimes in another dialect,
    sometimes with damaged bytes."""
    model = drawn(rng) if rng.random() < 0.7 else known(rng)
    if rng.random() < 0.25:
        rng.choice(DIALECTS)(model, rng)
    if rng.random() < 0.1:
        data = bytearray(model.SerializeToString())
        for _ in range(rng.choice((1, 2, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.2 else data)
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 3))):
        if model.graph.node and model.graph.initializer:
            try:
                rng.choice(CHANGES)(model, rng)
            except (ValueError, OverflowError, TypeError, IndexError, ValidationError):
                pass  # this change does not go with the one before
    return model.SerializeToString()


# --- the judge ----------------------------------------------------------------------------------
def attempt(rng: random.Random, folder: Path) -> str:
    """Import a mutated file and compare it with onnxruntime; compile some of those that agree."""
    path = folder / "net.onnx"
    path.write_bytes(mutated(rng))
    try:
        graph, problems = run_limited(str(path), LIMITS, examine_onnx, path, None)
    except UnsupportedModel:
        return "refused"
    if graph is None:
        str(problems_error(path, problems))
        return "refused"
    if max(np.prod(graph.host_input.model_shape), 1) > 1 << 20:
        return "accepted, too large to judge"
    compiled = rng.random() < COMPILED
    try:
        how = run_limited("the judge", LIMITS, _judge, path, graph, compiled)
    except UnsupportedModel:  # onnxruntime needs too much, or ended the process
        return "accepted, not judged"
    if how.startswith("different"):
        if not run_limited("the judge", LIMITS, _finite, path, graph):
            return "accepted, not finite"  # the largest of values that are none is nowhere defined
        exact = run_limited("ONNX's reference", LIMITS, _judge, path, graph, False, _run_exactly)
        if exact == "equal":  # onnxruntime's Sigmoid is off by 1e-7, however small it is
            return "equal to ONNX's reference alone"
        raise Different(how)
    return how


def _image(imported: Graph) -> np.ndarray:
    shape = imported.host_input.model_shape
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def _finite(path: Path, imported: Graph) -> bool:
    """Whether onnxruntime makes a finite value of every node, not of the outputs alone."""
    model = onnx.load(path)
    named = {output.name for output in model.graph.output}
    inside = dict.fromkeys(name for node in model.graph.node for name in node.output if name)
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in inside if n not in named)
    array = model_array(imported.host_input, _image(imported))
    values = run_reference(model.SerializeToString(), array)
    return all(np.isfinite(v).all() for v in values if v.dtype.kind == "f")


def _run_exactly(path: Path, array: np.ndarray) -> list[np.ndarray]:
    """What ONNX's own interpreter makes of a model; see `run_reference`."""
    model = ReferenceEvaluator(str(path))
    return [np.asarray(value) for value in model.run(None, {model.input_names[0]: array})]


def _judge(
    path: Path,
    imported: Graph,
    compiled: bool,
    reference: Callable[[Path, np.ndarray], list[np.ndarray]] = run_reference,
) -> str:
    image = _image(imported)
    try:
        expected = reference(path, model_array(imported.host_input, image))
    except Exception:  # onnxruntime refuses what is accepted here: nothing to compare with
        return "accepted, not judged"
    if not all(np.isfinite(want).all() for want in expected if want.dtype.kind == "f"):
        return "accepted, not finite"
    graph = optimise(imported)
    verify(graph, lowered=True)
    for stage in (imported, graph):
        with np.errstate(all="ignore"):
            maps = run_float(stage, image)
            got = [
                run_host_ops(stage, {name: values * by for name, values in maps.items()})
                for by in (np.float32(1), 1 + ROUNDING, 1 - ROUNDING)
            ]
        if len(got[0]) != len(expected):
            return f"different: {len(got[0])} outputs, onnxruntime has {len(expected)}"
        for want, (name, have) in zip(expected, got[0].items(), strict=True):
            if (have.shape, have.dtype) != (want.shape, want.dtype):
                return f"different: {name} is {have.dtype}{have.shape}, {want.dtype}{want.shape}"
            # Rounding that came with the model is the quantiser's, the float graph has none.
            if imported.hints is None and (found := _unlike(want, [g[name] for g in got])):
                return f"different: {found} {name}"
    how = "equal" if imported.hints is None else "accepted, quantised"
    return f"{how}, {_compile(graph)}" if compiled else how


def _unlike(want: np.ndarray, have: list[np.ndarray]) -> str:
    """How an output differs from onnxruntime's; empty if it is equal. have: beside it what comes of
    maps that were rounded otherwise, since a Floor or a comparison behind them jumps there."""
    if want.dtype.kind != "f":
        wrong = float(np.mean(np.all([h != want for h in have], axis=0)))  # a tie may go either way
        return f"{wrong:.0%} of" if wrong > 0.02 else ""
    room = TOLERANCE * max(1.0, float(np.abs(want).max(initial=0)))
    if np.any([np.isclose(h, want, atol=room, rtol=1e-3) for h in have], axis=0).all():
        return ""
    return f"by {np.abs(have[0] - want).max():.3g}"


def _compile(graph: Graph) -> str:
    """Quantise, schedule and run the program: it computes what the integer reference does."""
    params = for_network(graph, SMALL)
    try:
        network = quantise(graph, params, None)
        schedule = compile_schedule(network, params)
    except FpgaGenError as error:
        return f"then {type(error).__name__}"
    shape = graph.host_input.model_shape
    image = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    stored = quantise_input(network, image)
    want = run_integer(network, stored)
    try:
        have, _ = run_schedule(schedule, stored)
    except ScheduleError as error:
        raise Different(f"the program breaks a rule: {error}") from None
    wrong = [name for name, values in have.items() if not np.array_equal(values, want[name])]
    if wrong or set(have) != set(network.outputs):
        raise Different(f"the program computes other values of {wrong or sorted(have)}")
    return "compiled"
