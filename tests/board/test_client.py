"""The real pynq client and the unmodified host package against the virtual board."""

from __future__ import annotations

import numpy as np
import pytest

from fpga_gen.images import prepare
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer
from fpga_gen.quant.ir import QuantGraph
from fpga_gen_host.host_ops import run_host_ops
from tests.board.network import PREPROCESS
from tests.board.running import Running, free_address, run_client

pytestmark = pytest.mark.timeout(900)  # the first test may compile the simulator

PICTURES = """
import json, sys
import numpy as np
from fpga_gen_host import Accelerator, AcceleratorError, DeviceError
rng = np.random.default_rng(5)
pictures = [rng.integers(0, 256, (20, 31, 3), np.uint8) for _ in range(6)]
"""


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (20, 31, 3), np.uint8) for _ in range(6)]


def reference(graph: QuantGraph, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(stored output, model output) by the compiler's own interpreters."""
    stored = quantise_input(graph, prepare(picture, graph.host_input.model_shape, PREPROCESS))
    values = run_integer(graph, stored)
    real = {name: dequantise(graph, name, values[name]) for name in graph.outputs}
    return values[graph.outputs[0]], run_host_ops(graph, real)["mask"]


def test_pynq_finds_the_accelerator(board: Running):
    found = board.client(
        """
import json, sys, pynq
overlay = pynq.Overlay(sys.argv[1])
ip = overlay.accelerator
print(json.dumps({
    "version": pynq.__version__, "board": overlay.device.name, "loaded": overlay.is_loaded(),
    "type": overlay.ip_dict["accelerator"]["type"], "id": ip.read(0),
    "map": int(ip.register_map.ID[31:0]), "clock": pynq.Clocks.fclk0_mhz,
}))
""",
        board.flow.bitstream,
    )
    assert found["version"].startswith("4.")
    assert found["board"] == "virtual-zcu104"
    assert found["loaded"]
    assert found["type"] == "fpga-gen:user:fpga_gen_top:1.0"
    assert found["id"] == found["map"] == 0x46504741
    assert found["clock"] == pytest.approx(100, rel=0.001)


def test_frames_are_bit_exact(board: Running, graph: QuantGraph):
    code = (
        PICTURES
        + """
with Accelerator(sys.argv[1]) as accelerator:
    masks = [accelerator.run(p)["mask"].tolist() for p in pictures[:2]]
    masks += [o["mask"].tolist() for o in accelerator.run_many(pictures[2:])]
    statistics = accelerator.stream_statistics
    layers = [t.layer for t in accelerator.layer_times()]
    driver = type(accelerator._device._ip).__name__
    waits = accelerator._device.uses_interrupt
print(json.dumps({"masks": masks, "frames": statistics.frames, "layers": layers,
                  "driver": driver, "waits": waits}))
"""
    )
    before = len(board.flow.machine.simulator.frames)
    told = board.client(code, board.folder)
    for picture, mask in zip(pictures(), told["masks"], strict=True):
        np.testing.assert_allclose(np.array(mask), reference(graph, picture)[1], atol=1e-6)
    assert told["frames"] == 4
    assert told["driver"] == "FpgaGenDriver"
    assert not told["waits"]  # the handoff has an interrupt, but PYNQ.remote does not pass it on
    assert {n.name for n in graph.nodes} <= set(told["layers"])
    assert len(board.flow.machine.simulator.frames) == before + 6
    assert board.flow.machine.memory.used == 0


def test_stored_outputs_are_bit_exact(board: Running, graph: QuantGraph, tmp_path):
    rng = np.random.default_rng(9)
    tensor = graph.tensors[graph.input]
    stored = rng.integers(-128, 128, (tensor.channels, tensor.height, tensor.width), np.int8)
    np.save(tmp_path / "stored.npy", stored)
    code = (
        PICTURES
        + """
stored = np.load(sys.argv[2])
with Accelerator(sys.argv[1]) as accelerator:
    print(json.dumps({k: v.tolist() for k, v in accelerator.run_stored(stored).items()}))
"""
    )
    told = board.client(code, board.folder, tmp_path / "stored.npy")
    values = run_integer(graph, stored)
    assert set(told) == set(graph.outputs)
    for name, found in told.items():
        assert np.array_equal(np.array(found), values[name])


def test_error_of_the_hardware_and_recovery(board: Running, graph: QuantGraph):
    """A program that ends in nonsense: the error's name, a reset, and the next frame is good."""
    code = (
        PICTURES
        + """
with Accelerator(sys.argv[1]) as accelerator:
    engine = accelerator._held.engine
    engine._static.array[: len(accelerator.deployment.program)] = 255
    engine._static.flush()
    try:
        accelerator.run(pictures[0])
        error = ""
    except AcceleratorError as caught:
        error = caught.name
    program = np.frombuffer(accelerator.deployment.program, np.uint8)
    engine._static.array[: len(program)] = program
    engine._static.flush()
    print(json.dumps({"error": error, "mask": accelerator.run(pictures[0])["mask"].tolist()}))
"""
    )
    told = board.client(code, board.folder)
    assert told["error"] == "BAD_INSTRUCTION"
    np.testing.assert_allclose(
        np.array(told["mask"]), reference(graph, pictures()[0])[1], atol=1e-6
    )


def test_memory_that_runs_out(board: Running):
    code = (
        PICTURES
        + """
import pynq
from fpga_gen_host.pynq_device import PynqDevice
device = PynqDevice(__import__("pathlib").Path(sys.argv[1]))
kept, errors = [], []
for size in (6 << 20, 6 << 20, 1 << 40):
    try:
        kept.append(device.allocate(size))
    except DeviceError as error:
        errors.append(str(error))
for buffer in kept:
    buffer.free()
    buffer.free()
print(json.dumps(errors))
"""
    )
    errors = board.client(code, board.flow.bitstream)
    assert len(errors) == 2
    assert all("contiguous" in e and "\n" not in e for e in errors)
    assert board.flow.machine.memory.used == 0


def test_a_client_that_died_leaves_nothing(board: Running):
    """Its memory is freed when the next client loads the bitstream."""
    code = (
        PICTURES
        + """
import os
accelerator = Accelerator(sys.argv[1])
accelerator.run(pictures[0])
accelerator._device.write(0x10, 1)
print("{}", flush=True)
os._exit(0)
"""
    )
    board.client(code, board.folder)
    assert board.flow.machine.memory.used > 0
    board.client(
        PICTURES + "with Accelerator(sys.argv[1]) as a: a.run(pictures[0])\nprint('{}')",
        board.folder,
    )
    assert board.flow.machine.memory.used == 0


def test_another_bitstream_is_refused(board: Running, tmp_path):
    for suffix in (".bit", ".hwh"):
        data = board.flow.bitstream.with_suffix(suffix).read_bytes()
        (tmp_path / f"other{suffix}").write_bytes(data)
    own = board.flow.design_hash
    other = (tmp_path / "other.bit").read_bytes()
    other = other.replace(own.to_bytes(8, "big"), (own ^ 1).to_bytes(8, "big"))
    (tmp_path / "other.bit").write_bytes(other)
    code = (
        PICTURES
        + """
from pathlib import Path
from fpga_gen_host.pynq_device import PynqDevice
try:
    PynqDevice(Path(sys.argv[1]))
    print('""')
except DeviceError as error:
    print(json.dumps(str(error)))
"""
    )
    message = board.client(code, tmp_path / "other.bit")
    assert f"it carries design hash {own ^ 1:016x}, the board {own:016x}: load" in message
    assert "\n" not in message


def test_no_board_at_the_address(board: Running):
    code = (
        PICTURES
        + """
try:
    Accelerator(sys.argv[1])
except DeviceError as error:
    print(json.dumps(str(error)))
"""
    )
    done = run_client(free_address(), code, board.folder)
    assert "cannot be loaded" in done.stdout
    assert "PYNQ_REMOTE_DEVICES" in done.stdout


def test_polyps_are_found(board: Running, tmp_path):
    """The masks agree with the drawn polyps: picture, accelerator and overlay fit together."""
    from fpga_gen.phantom import draw_phantom

    drawn = [draw_phantom(300, 352, seed) for seed in (200, 201, 202)]
    np.savez(tmp_path / "pictures.npz", *(p for p, _ in drawn))
    code = (
        PICTURES
        + """
from fpga_gen_host.polyp import full_mask, mask_of, overlay
given = list(np.load(sys.argv[2]).values())
masks, changed = [], []
with Accelerator(sys.argv[1]) as a:
    for picture, outputs in zip(given, a.run_many(given)):
        mask = mask_of(outputs, a.deployment)
        full = full_mask(mask, picture.shape[:2], a.deployment)
        changed.append(bool((overlay(picture, mask, a.deployment) != picture).any()))
        masks.append(full)
np.savez(sys.argv[3], *masks)
print(json.dumps(changed))
"""
    )
    changed = board.client(code, board.folder, tmp_path / "pictures.npz", tmp_path / "masks.npz")
    masks = list(np.load(tmp_path / "masks.npz").values())
    assert changed == [True] * 3
    for (_, truth), mask in zip(drawn, masks, strict=True):
        assert (truth & mask).sum() / (truth | mask).sum() > 0.6
