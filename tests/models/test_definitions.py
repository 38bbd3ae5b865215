"""Parameter names and cost of the models against the published ones."""

import hashlib
from importlib.util import find_spec

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import torch

from fpga_gen_models import MODELS
from fpga_gen_models.hardnet_spec import block_links, block_width
from fpga_gen_models.macs import count_macs

#: SHA-256 (16 digits) over the sorted "name shape" lines of the published state dicts (for
#: HarDNet-MSEG: of its live part), and the number of entries
STATE_DICTS = {
    "hardnet-39ds": (446, "cd2b6332fc7c4b24"),
    "hardnet-68ds": (788, "8c7388467f1bd248"),
    "hardnet-68": (404, "8e0afcbf77e31691"),
    "hardnet-85": (506, "73ac6a90fb886b17"),
    "hardnet-mseg": (722, "f8fdbfed9081d4bb"),
}

#: GMAC and millions of weights at the usual input size; convolutions
COSTS = {
    "hardnet-39ds": (0.43, 3.5, 74),
    "hardnet-68ds": (0.78, 4.2, 131),
    "hardnet-68": (4.25, 17.6, 67),
    "hardnet-85": (9.07, 36.6, 84),
    "hardnet-mseg": (11.35, 17.4, 121),
}


def test_links_of_a_harmonic_block() -> None:
    assert [block_links(i) for i in range(1, 9)] == [
        [0],
        [1, 0],
        [2],
        [3, 2, 0],
        [4],
        [5, 4],
        [6],
        [7, 6, 4, 0],
    ]
    # the widths named in table 3 of the paper follow from growth 14 and multiplier 1.7
    assert [block_width(i, 14, 1.7) for i in range(1, 9)] == [14, 24, 14, 40, 14, 24, 14, 68]


@pytest.mark.parametrize("name", MODELS)
def test_state_dict_and_cost(name: str) -> None:
    with torch.device("meta"):
        model = MODELS[name].builder().eval()
    state = model.state_dict()
    lines = "\n".join(f"{key} {tuple(value.shape)}" for key, value in sorted(state.items()))
    digest = hashlib.sha256(lines.encode()).hexdigest()[:16]
    assert (len(state), digest) == STATE_DICTS[name]

    cost = count_macs(model, MODELS[name].input_size)
    gmac, weights, convolutions = COSTS[name]
    assert round(cost.macs / 1e9, 2) == gmac
    assert round(cost.weights / 1e6, 1) == weights
    assert cost.convolutions == convolutions


def test_names_are_those_of_the_published_code() -> None:
    with torch.device("meta"):
        ds = MODELS["hardnet-39ds"].builder().state_dict()
        plain = MODELS["hardnet-85"].builder().state_dict()
        mseg = MODELS["hardnet-mseg"].builder().state_dict()
    assert ds["base.0.conv.weight"].shape == (24, 3, 3, 3)
    assert ds["base.2.dwconv.weight"].shape == (48, 1, 3, 3)
    assert "base.3.layers.0.layer1.conv.weight" in ds
    assert "base.3.layers.0.layer2.norm.running_var" in ds
    assert plain["base.19.3.weight"].shape == (1000, 1280)  # one dropout takes up an index
    assert mseg["hardnet.base.15.conv.weight"].shape[0] == 1024
    assert mseg["rfb2_1.branch3.1.conv.weight"].shape == (32, 32, 1, 7)
    assert mseg["agg1.conv5.bias"].shape == (1,)
    assert not [key for key in mseg if key.startswith(("ra", "conv", "hardnet.base.16"))]


def test_output_shapes() -> None:
    image = torch.zeros(2, 3, 64, 96)
    assert MODELS["hardnet-39ds"].builder().eval()(image).shape == (2, 1000)
    assert MODELS["hardnet-mseg"].builder().eval()(image).shape == (2, 1, 64, 96)
