"""Comparison with reference vectors, and the benchmark, on a stand-in accelerator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from host_fakes import FakeDevice, first_bytes, write_deploy

from fpga_gen_host import Accelerator, DeployError, load_deployment
from fpga_gen_host.benchmark import main as benchmark
from fpga_gen_host.benchmark import measure
from fpga_gen_host.prepare import InputPacker
from fpga_gen_host.reference import FOLDER, compare_with_reference, read_references
from fpga_gen_host.regions import pack_input, unpack_output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_deploy(tmp_path / "deploy")


def write_vector(folder: Path, name: str, change: int = 0) -> None:
    """What the stand-in computes for a random input, with `change` values altered."""
    deployment = load_deployment(folder)
    rng = np.random.default_rng(len(name))
    stored = rng.integers(-128, 128, deployment.input_tensor.shape, np.int8)
    region = pack_input(deployment.input, stored)[: deployment.output.bytes]
    outputs = unpack_output(deployment.output, region)
    outputs["out"].reshape(-1)[:change] ^= 1
    (folder / FOLDER).mkdir(exist_ok=True)
    arrays = {"input": stored, **{f"output:{n}": v for n, v in outputs.items()}}
    np.savez(folder / FOLDER / f"{name}.npz", **arrays)


def open_stand_in(folder: Path) -> Accelerator:
    size = load_deployment(folder).output.bytes
    return Accelerator(folder, device=FakeDevice(first_bytes(size)))


def test_equal_and_different(folder: Path):
    write_vector(folder, "b")
    write_vector(folder, "aa", change=5)
    with open_stand_in(folder) as accelerator:
        found = list(compare_with_reference(accelerator))
    assert [(c.name, c.values, c.different, c.bit_exact) for c in found] == [
        ("aa", 24, 5, False),
        ("b", 24, 0, True),
    ]


def test_no_references(folder: Path):
    assert read_references(folder) == []


@pytest.mark.parametrize("data", [b"", b"nonsense", b"PK\x03\x04 cut off"])
def test_damaged(folder: Path, data: bytes):
    (folder / FOLDER).mkdir()
    (folder / FOLDER / "a.npz").write_bytes(data)
    with pytest.raises(DeployError, match=r"a\.npz: damaged .*: make it again"):
        read_references(folder)


def test_another_network(folder: Path):
    (folder / FOLDER).mkdir()
    np.savez(folder / FOLDER / "a.npz", **{"input": np.zeros(3), "output:out": np.zeros(4)})
    with (
        open_stand_in(folder) as accelerator,
        pytest.raises(DeployError, match=r"a\.npz: of another network"),
    ):
        list(compare_with_reference(accelerator))


def test_benchmark(folder: Path, capsys):
    times = measure(load_deployment(folder), (40, 30))
    assert times.size == (40, 30)
    assert times.mask is not None
    assert times.overlay is not None
    assert 0 < times.prepare < times.total < 100
    assert benchmark([str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["size"] == [8, 12]
    assert told["total"] == pytest.approx(told["prepare"] + told["finish"] + told["mask"])
    assert benchmark([str(folder), "--size", "16x24"]) == 0
    assert "picture 16x24" in capsys.readouterr().out


def test_benchmark_of_one_part(folder: Path, capsys, monkeypatch):
    done = []
    monkeypatch.setattr(InputPacker, "pack", lambda *_: done.append(1))
    assert benchmark([str(folder), "--only", "prepare", "--rounds", "3"]) == 0
    assert len(done) == 3
    assert not capsys.readouterr().out
    with pytest.raises(SystemExit):
        benchmark([str(folder), "--only", "nothing"])
    assert "no such part" in capsys.readouterr().err


def test_benchmark_of_nothing(tmp_path: Path, capsys):
    assert benchmark([str(tmp_path)]) == 1
    assert "manifest.json" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        benchmark([str(tmp_path), "--size", "large"])
    assert caught.value.code == 2
