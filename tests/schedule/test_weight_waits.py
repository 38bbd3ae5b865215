"""Where a layer waits for its weights, it is said so."""

from __future__ import annotations

from pathlib import Path

from fpga_gen.builddir.config import BuildConfig
from fpga_gen.flows.check import check_model
from fpga_gen_models.zoo import export_network


def test_weights_that_travel_longer_than_the_array_works_are_waited_for(tmp_path: Path):
    """AlexNet's matrices are read from DRAM once for each frame of one pixel."""
    found = check_model(BuildConfig(export_network("alexnet", tmp_path / "a.onnx"), "zcu104"))
    waits = {share.title: share.cycles for share in found.shares}
    assert waits["waiting for weights from DRAM"] > 300_000
