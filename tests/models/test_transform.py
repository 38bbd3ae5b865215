"""BatchNorm folding is exact; random BatchNorm statistics keep activations in range."""

from importlib.util import find_spec

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import torch

from fpga_gen_models.export import build_model
from fpga_gen_models.transform import fold_batchnorm, synthetic_images


@pytest.mark.parametrize("name", ["hardnet-39ds", "hardnet-mseg"])
def test_folding_keeps_the_function(name: str) -> None:
    model = build_model(name, input_size=64)
    folded = fold_batchnorm(model)
    assert not [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(m.bias is not None for m in folded.modules() if isinstance(m, torch.nn.Conv2d))
    image = synthetic_images(1, 64, torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, got = model(image), folded(image)
    assert (expected - got).abs().max() < 1e-4 * expected.abs().max()
    assert expected.std() > 1e-3


def test_folding_names_a_lonely_batchnorm() -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError, match=r"BatchNorm without.*0"):
        fold_batchnorm(model)


def test_random_models_are_well_scaled_and_reproducible() -> None:
    first, second = (build_model("hardnet-68ds", input_size=64, seed=5) for _ in range(2))
    other = build_model("hardnet-68ds", input_size=64, seed=6)
    key = "base.0.norm.running_var"
    assert torch.equal(first.state_dict()[key], second.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])

    deviations = []
    norms = [m for m in first.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.register_forward_hook(lambda _m, _i, out: deviations.append(out.std().item()))
    with torch.no_grad():
        first(synthetic_images(1, 96, torch.Generator().manual_seed(1)))
    assert len(deviations) == 131
    assert min(deviations) > 0.2
    assert max(deviations) < 5
