"""Sensors found below a folder laid out like the kernel's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fpga_gen_host.power import PowerRecorder, board_sensor, list_sensors


def add_chip(root: Path, number: int, name: str, **values: str) -> Path:
    folder = root / f"hwmon{number}"
    folder.mkdir()
    (folder / "name").write_text(f"{name}\n")
    for entry, text in values.items():
        (folder / entry).write_text(f"{text}\n")
    return folder


def test_no_sensors(tmp_path: Path):
    assert list_sensors(tmp_path / "none") == []
    add_chip(tmp_path, 0, "thermal", temp1_input="40000")
    assert board_sensor(root=tmp_path) is None


def test_the_only_sensor(tmp_path: Path):
    add_chip(tmp_path, 0, "someone", power1_input="2500000")
    sensor = board_sensor(root=tmp_path)
    assert sensor is not None
    assert sensor.name == "someone"
    assert sensor.watts() == pytest.approx(2.5)


def test_the_board_sensor_among_rails(tmp_path: Path):
    rails = {"power1_input": "1", "power1_label": "pin", "power2_input": "2"}
    add_chip(tmp_path, 0, "irps5401", **rails)
    names = [s.name for s in list_sensors(tmp_path)]
    assert names == ["irps5401:pin", "irps5401:power2"]
    assert board_sensor(root=tmp_path) is None  # rails overlap: their sum is no board power
    named = board_sensor("irps5401:power2", tmp_path)
    assert named is not None
    assert named.watts() == pytest.approx(2e-6)
    assert board_sensor("missing", tmp_path) is None
    add_chip(tmp_path, 1, "ina260_u14", power1_input="9000000")
    sensor = board_sensor(root=tmp_path)
    assert sensor is not None
    assert sensor.name == "ina260_u14"


def test_unreadable_sensors_are_left_out(tmp_path: Path):
    add_chip(tmp_path, 0, "broken", power1_input="no number")
    assert list_sensors(tmp_path) == []


def test_recorder_averages_and_survives_a_busy_bus(tmp_path: Path):
    folder = add_chip(tmp_path, 0, "chip", power1_input="4000000")
    sensor = board_sensor(root=tmp_path)
    assert sensor is not None
    recorder = PowerRecorder(sensor, interval_s=0.001)
    assert recorder.mean_watts is None
    recorder.start()
    while not recorder.samples:
        time.sleep(0.001)
    (folder / "power1_input").write_text("")
    taken = len(recorder.samples)
    time.sleep(0.02)
    recorder.stop()
    assert len(recorder.samples) <= taken + 1  # one may have been under way
    assert recorder.mean_watts == pytest.approx(4.0)
