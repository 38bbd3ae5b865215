"""ONNX's node tests through the import: every case equal to its reference or refused by name."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import examine_onnx
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen_host.host_ops import run_host_ops
from fpga_gen_host.model_input import as_image
from tests.frontend.backend_nodes import Case, cases

SHARDS = 4
LEAST_EQUAL, MOST_REFUSED = 470, 700  # of all shards; others have no reference
SMALL_FLOATS = ("FLOAT16", "BFLOAT16")  # which are computed in float32 here


@pytest.fixture(scope="module")
def every_case() -> list[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of models of old versions
        return list(cases())


def _reference(case: Case) -> list[np.ndarray] | None:
    """Results of onnxruntime, else of ONNX's own evaluator; None if neither has the operator."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    feed = {case.model.graph.input[0].name: case.array}
    try:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), options)
        return session.run(None, feed)
    except Exception:  # whatever it raises for what it has not
        pass
    try:
        return ReferenceEvaluator(case.model).run(None, feed)
    except Exception:
        return None


def _outcome(case: Case, path: Path) -> str:
    """'equal', 'refused' or what differs."""
    onnx.save(case.model, path)
    try:
        graph, problems = examine_onnx(path, None)
    except UnsupportedModel as error:
        return "refused" if str(path) in str(error) else f"no name in {error}"
    if graph is None:
        return "refused" if all(p.node and p.reason and p.remedy for p in problems) else "no reason"
    want = _reference(case)
    if want is None:
        return "no reference"
    image = as_image(graph.host_input, case.array)
    loose = 4e-3 if any(kind in case.name for kind in SMALL_FLOATS) else 1e-4
    for stage in (graph, optimise(graph)):
        results = run_host_ops(stage, run_float(stage, image))
        for reference, (name, got) in zip(want, results.items(), strict=True):
            if got.shape != reference.shape:
                return f"{name} has shape {got.shape}, not {reference.shape}"
            right = np.asarray(reference, np.float64)
            if not np.allclose(got.astype(np.float64), right, loose, loose, equal_nan=True):
                return f"{name} differs by {np.nanmax(np.abs(got - right))}"
    return "equal"


@pytest.mark.parametrize("shard", range(SHARDS))
def test_equal_or_refused_by_name(shard, every_case, tmp_path):
    mine = every_case[shard::SHARDS]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {case.name: _outcome(case, tmp_path / "net.onnx") for case in mine}
    known = ("equal", "refused", "no reference")
    assert {n: outcome for n, outcome in found.items() if outcome not in known} == {}
    outcomes = list(found.values())
    assert outcomes.count("equal") >= LEAST_EQUAL // SHARDS - 12
    assert outcomes.count("refused") <= MOST_REFUSED // SHARDS + 12
