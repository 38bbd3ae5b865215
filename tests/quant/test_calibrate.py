import numpy as np
import pytest

from fpga_gen.errors import QuantError
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Conv, ConvTerm, Graph, Tensor
from fpga_gen.quant.calibrate import (
    as_picture,
    calibrate,
    compact_weight,
    dense_weight,
    synthetic_images,
)
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.ranges import segments_of
from fpga_gen_host.model_input import HostInput
from tests.quant.networks import all_nodes, images


def test_synthetic_images_are_seeded_and_normalised():
    a, b = synthetic_images((3, 40, 56), 2, 5), synthetic_images((3, 40, 56), 2, 5)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == np.float32
        assert x.shape == (3, 40, 56)
        assert abs(x.mean()) < 1e-3
        assert x.std() == pytest.approx(1, abs=1e-3)
        smooth = np.abs(np.diff(x, axis=2)).mean()
        assert smooth < 0.5 * np.abs(x - x[:, ::-1, ::-1]).mean()
    assert np.abs(a[0] - synthetic_images((3, 40, 56), 1, 6)[0]).max() > 0.1


def test_moments_reproduce_the_layers_outputs():
    """Mean and variance of every preactivation follow from the moments, if all pixels are used."""
    graph, pictures = all_nodes(), images(2)
    calibration = calibrate(graph, pictures)
    runs = [run_float(graph, p) for p in pictures]
    for name in ("stem", "mix", "two", "deep"):
        node = next(n for n in graph.nodes if n.name == name)
        weight, columns = compact_weight(node)
        layer = calibration.moments[name]
        mean = (weight * layer.mean[columns]).sum(1) + node.bias
        plain = [
            sum(_conv(run, node, t) for t in node.terms) + node.bias[:, None, None] for run in runs
        ]
        np.testing.assert_allclose(mean, np.mean(plain, (0, 2, 3)), atol=2e-4)
        if len(layer.batches) == 1:
            second = layer.covariance(layer.batches[0])[0]
            variance = np.einsum("fk,kl,fl->f", weight, second, weight)
            np.testing.assert_allclose(variance, np.var(np.stack(plain, 1), (1, 2, 3)), rtol=2e-3)
        for batch in layer.batches:
            diagonal = np.einsum("bkk->bk", layer.covariance(batch))
            np.testing.assert_allclose(
                diagonal, layer.variance[batch.columns], atol=1e-3, rtol=1e-3
            )


def _conv(run, node, term):
    from fpga_gen.quant.convolve import convolve, pad_map

    weight = dense_weight(term.weight, term.groups)
    return convolve(pad_map([run[term.input]], term.pads, np.dtype(np.float32)), weight,
                    term.stride, term.dilation)  # fmt: skip


def test_blocks_cover_every_weight_once():
    graph = all_nodes()
    calibration = calibrate(graph, images(1), options=QuantOptions(block=40))
    segments = segments_of(graph)
    for node in (n for n in graph.nodes if isinstance(n, Conv)):
        weight, columns = compact_weight(node)
        seen = np.zeros(weight.shape, int)
        for batch in calibration.moments[node.name].batches:
            assert batch.columns.shape[1] <= 40
            seen[batch.filters[:, :, None], batch.compact] += 1
            full = np.broadcast_to(columns, weight.shape)
            for b, rows in enumerate(batch.filters):
                for row in rows:
                    assert (full[row, batch.compact] == batch.columns[b]).all()
        assert (seen == 1).all(), node.name
        depth = sum(
            sum(graph.tensors[s].channels for s in segments[t.input]) * t.weight[0, 0].size
            for t in node.terms
        )
        assert calibration.moments[node.name].total.size == depth


def test_dense_weight_of_groups():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((6, 2, 3, 3))
    dense = dense_weight(weight, 3)
    assert dense.shape == (6, 6, 3, 3)
    for f in range(6):
        g = f // 2
        np.testing.assert_array_equal(dense[f, 2 * g : 2 * g + 2], weight[f])
    assert np.count_nonzero(dense) == weight.size


def test_bad_images_are_refused():
    with pytest.raises(QuantError, match="no calibration images"):
        calibrate(all_nodes(), [])
    broken = images(1)
    broken[0][0, 3, 3] = np.nan
    with pytest.raises(QuantError, match="not finite"):
        calibrate(all_nodes(), broken)


@pytest.mark.parametrize("compensate", [True, False])
def test_maps_whose_squares_overflow_are_refused(compensate: bool):
    """Finite maps, but no second moments in 32-bit floating point."""
    weight = np.full((4, 4, 1, 1), 1e20, np.float32)
    nodes = tuple(
        Conv(name, (ConvTerm(source, weight / number),), np.zeros(4, np.float32), output)
        for name, source, output, number in (("first", "image", "a", 1), ("second", "a", "b", 1e20))
    )
    tensors = {name: Tensor(name, 4, 6, 6) for name in ("image", "a", "b")}
    graph = Graph("huge", "image", ("b",), tensors, nodes, HostInput((4, 6, 6)))
    drawn = synthetic_images((4, 6, 6), 1, 0)
    with pytest.raises(QuantError, match="layer 'second': its inputs are so large"):
        calibrate(graph, drawn, options=QuantOptions(compensate=compensate))


def test_drawn_images_become_pictures():
    image = synthetic_images((3, 20, 24), 1, 0)[0]
    plain = HostInput((3, 20, 24))
    assert as_picture(image, plain) is image
    host = HostInput((3, 20, 24), gain=(60.0, 50.0, 70.0), offset=(120.0, 100.0, 140.0))
    pixels = as_picture(image, host) * np.array(host.gain)[:, None, None]
    pixels += np.array(host.offset)[:, None, None]
    np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-3)
    assert pixels.min() > -0.1
    assert pixels.max() < 255.1
    inside = np.abs(image) < 1.5  # within 0..255: moved by half a level at most
    assert np.abs(as_picture(image, host) - image)[inside].max() <= 0.5 / 50 + 1e-4
