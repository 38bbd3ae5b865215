"""Schedule, averaged weights, atomic files."""

from importlib.util import find_spec

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import torch

from fpga_gen_models.runstate import AveragedWeights, RateSchedule


def test_schedule_rises_then_falls() -> None:
    schedule = RateSchedule(1e-3, minutes=10, warmup=0.1, floor=0.01)
    rates = [schedule.rate(schedule.progress(0, seconds)) for seconds in range(0, 601, 6)]
    top = rates.index(max(rates))
    assert top == 10
    assert rates[top] == pytest.approx(1e-3)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(1e-5)
    assert schedule.progress(0, 1e6) == 1


def test_schedule_by_steps_ignores_time() -> None:
    assert RateSchedule(1e-3, steps=8).progress(2, 1e6) == 0.25


@pytest.mark.parametrize(("steps", "minutes"), [(0, 0.0), (5, 5.0)])
def test_schedule_needs_one_end(steps: int, minutes: float) -> None:
    with pytest.raises(ValueError, match="one of them"):
        RateSchedule(1e-3, steps=steps, minutes=minutes)


def test_average_follows_the_weights() -> None:
    model = torch.nn.BatchNorm2d(1)
    average = AveragedWeights(model, decay=0.5)
    for _ in range(20):
        model.weight.data.fill_(3.0)
        average.update(model)
    assert average.state["weight"].item() == pytest.approx(3.0, abs=1e-3)
    model.num_batches_tracked.fill_(7)
    average.update(model)
    assert average.state["num_batches_tracked"].item() == 7
