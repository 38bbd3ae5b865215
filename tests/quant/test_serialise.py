import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.errors import BuildDirError
from fpga_gen.quant.interpreter import quantise_input, run_integer
from fpga_gen.quant.ir import QConv
from fpga_gen.quant.quantise import quantise
from fpga_gen.quant.serialise import STRUCTURE, load_quant_graph, quant_graph_bytes
from tests.engines import SMALL
from tests.quant.networks import all_nodes, images, random_qgraph
from tests.schedule.graphs import example


@pytest.fixture(scope="module")
def qgraph():
    return quantise(all_nodes(), SMALL, images(2))


@pytest.fixture
def saved(qgraph, tmp_path):
    path = tmp_path / "quant.npz"
    path.write_bytes(quant_graph_bytes(qgraph))
    return path


def read(path):
    return load_quant_graph(path.read_bytes(), path)


def test_round_trip_is_equal_field_by_field(qgraph, saved):
    back = read(saved)
    plain = ("name", "input", "outputs", "output_names", "tensors", "sp2", "host_input",
             "host_ops", "facts")  # fmt: skip
    for field in plain:
        assert getattr(back, field) == getattr(qgraph, field), field
    assert list(back.tensors) == list(qgraph.tensors)
    for a, b in zip(back.nodes, qgraph.nodes, strict=True):
        assert type(a) is type(b)
        if not isinstance(b, QConv):
            assert a == b
            continue
        assert a.epilogue == b.epilogue
        for name in vars(b).keys() - {"terms", "epilogue"}:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        for s, t in zip(a.terms, b.terms, strict=True):
            np.testing.assert_array_equal(s.weight, t.weight)
            assert (s.inputs, s.stride, s.pads, s.dilation, s.low) == (
                t.inputs, t.stride, t.pads, t.dilation, t.low,
            )  # fmt: skip


def test_low_terms_are_kept():
    graph = example("sums", SMALL).graph
    back = load_quant_graph(quant_graph_bytes(graph), Path("quant.npz"))
    lows = [[t.low for t in n.terms] for n in back.nodes if isinstance(n, QConv)]
    assert [False, False, True, True] in lows
    assert lows == [[t.low for t in n.terms] for n in graph.nodes if isinstance(n, QConv)]


def test_loaded_network_computes_the_same(tmp_path):
    qgraph = random_qgraph(1)
    (tmp_path / "q.npz").write_bytes(quant_graph_bytes(qgraph))
    back = read(tmp_path / "q.npz")
    stored = quantise_input(qgraph, images(1, (3, 7, 8))[0])
    for name, value in run_integer(qgraph, stored).items():
        np.testing.assert_array_equal(run_integer(back, stored)[name], value)


def test_bytes_are_deterministic_and_readable_by_numpy(qgraph, saved):
    assert quant_graph_bytes(read(saved)) == saved.read_bytes()
    with np.load(saved, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["0.weight0"], qgraph.nodes[0].terms[0].weight)


def test_damage_is_reported_or_harmless(qgraph, saved, tmp_path):
    """Flipped bytes and truncation: BuildDirError, or (in unused header bits) an equal graph."""
    data = saved.read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.npz"
    caught = 0
    for position in rng.integers(0, len(data), 150):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            back = read(path)
        except BuildDirError as error:
            caught += "build again" in str(error)
            continue
        np.testing.assert_array_equal(back.nodes[0].bias, qgraph.nodes[0].bias)
        assert back.tensors == qgraph.tensors
    assert caught > 120
    for size in rng.integers(0, len(data), 20):
        path.write_bytes(data[:size])
        with pytest.raises(BuildDirError):
            read(path)


def rewritten(source, target, change) -> None:
    """Copy an archive with a change of its structure and arrays."""
    with zipfile.ZipFile(source) as old:
        members = {n: old.read(n) for n in old.namelist()}
    structure = json.loads(members[STRUCTURE])
    change(structure, members)
    members[STRUCTURE] = json.dumps(structure).encode()
    with zipfile.ZipFile(target, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)


def _npy(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.lib.format.write_array(data, array)
    return data.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, m: s.update(version=99), "version 99"),
        (lambda s, m: s.pop("tensors"), "corrupted"),
        (lambda s, m: s["nodes"][0].update(type="QPickle"), "corrupted"),
        (lambda s, m: s["nodes"][1].update(input="nix"), "unknown tensor 'nix'"),
        (lambda s, m: m.pop("0.bias.npy"), "corrupted"),
        (lambda s, m: m.update({"0.bias.npy": _npy(np.zeros(12))}), "wrong type"),
        (lambda s, m: m.update({"0.weight0.npy": _npy(np.zeros(3))}), "not int8"),
        (lambda s, m: m.update({"0.mult.npy": b"\x80\x04N."}), "corrupted"),
    ],
)
def test_inconsistent_content(saved, tmp_path, change, message):
    rewritten(saved, tmp_path / "bad.npz", change)
    with pytest.raises(BuildDirError, match=message):
        read(tmp_path / "bad.npz")
