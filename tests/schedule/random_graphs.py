"""Random chains of operators."""

from __future__ import annotations

from fpga_gen.contract.numerics import FORMATS, I16
from fpga_gen.contract.params import EngineParams
from tests.schedule.builder import Builder, Example, linear_table


def random_example(params: EngineParams, seed: int, nodes: int = 6, curves: int = 0) -> Example:
    """A random chain of operators over all live tensors; every unread tensor is an output.

    curves: see Builder."""
    b = Builder("random", params, seed, curves)
    rng = b.rng
    size = [int(v) for v in rng.integers(1, 14, 2)]
    live = [b.input(int(rng.integers(1, 14)), *size, FORMATS[str(rng.choice(["i8", "u8", "i16"]))])]
    read: set[str] = set()
    while len(b.nodes) < nodes:
        source = str(rng.choice(live))
        t = b.tensors[source]
        fmt = FORMATS[str(rng.choice(["i8", "u8", "u8", "i16"]))]
        every = {n: b.tensors[n] for n in live}
        peers = [n for n, o in every.items() if (o.height, o.width) == (t.height, t.width)]
        tied = [n for n in peers if (every[n].kinds, every[n].channels) == (t.kinds, t.channels)]
        match str(rng.choice(["conv", "conv", "pool", "add", "mul", "resample"])):
            case "conv":
                count = int(rng.integers(1, min(3, len(peers)) + 1))
                inputs = tuple(str(n) for n in rng.permutation(peers)[:count])
                kernel = tuple(int(v) for v in rng.integers(1, 4, 2))
                dilation = tuple(int(v) for v in rng.integers(1, 3, 2))
                pads = tuple(int(v) for v in rng.integers(0, 3, 4))
                stride = tuple(int(v) for v in rng.integers(1, 4, 2))
                span = [dilation[a] * (kernel[a] - 1) + 1 for a in (0, 1)]
                if any((t.height, t.width)[a] + pads[a] + pads[a + 2] < span[a] for a in (0, 1)):
                    continue
                kinds = b.kinds(int(rng.integers(1, 30)))
                term = b.term(inputs, kinds, kernel, stride, pads, dilation, top=30)
                result = b.conv(term, kinds, fmt)
                read.update(inputs)
            case "pool":
                if t.format is I16 or min(t.height, t.width) < 2:
                    continue
                pad = int(rng.integers(0, 2))
                result = b.pool(source, 2, int(rng.integers(1, 4)), (pad, pad, 0, 0))
                read.add(source)
            case "add":
                inputs = tuple(str(n) for n in rng.choice(tied, int(rng.integers(2, 5))))
                result = b.add(inputs, fmt)
                read.update(inputs)
            case "mul":
                other = str(rng.choice(tied))
                result = b.mul(source, other, fmt)
                read.update((source, other))
            case _:
                if t.height > 12 or t.width > 12:
                    continue
                rows, columns = (int(v) for v in rng.integers(1, 20, 2))
                y, x = linear_table(t.height, rows), linear_table(t.width, columns)
                result = b.resample(source, y, x, fmt)
                read.add(source)
        live.append(result)
    return b.example(*[n for n in live if n not in read])
