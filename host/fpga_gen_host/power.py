"""Board power from the kernel's sensors (hwmon). Not run on hardware."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

HWMON = Path("/sys/class/hwmon")
# Sensors that see the whole board or module, by chip name. KV260: ina260-u14 of Linux's device tree
# zynqmp-sck-kv-g (iio-hwmon writes '-' as '_'). ZCU104: the INA226 of the 12 V input, which PYNQ's
# sensor configuration calls 12V, as pynq.get_rails() does.
WHOLE_BOARD = ("ina260_u14", "ina226_u183", "ina226")


@dataclass(frozen=True)
class PowerSensor:
    """One power reading of the kernel. name: chip, or chip:label where the chip has several."""

    name: str
    chip: str
    path: Path

    def watts(self) -> float:
        """The present value."""
        return int(self.path.read_text()) * 1e-6  # the kernel counts microwatts


def list_sensors(root: Path = HWMON) -> list[PowerSensor]:
    """All power sensors, by name; those that cannot be read now are left out."""
    found = []
    for folder in sorted(root.glob("hwmon*")) if root.is_dir() else []:
        inputs = sorted(folder.glob("power*_input"))
        for path in inputs:
            try:
                chip = (folder / "name").read_text().strip()
                label = path.with_name(path.name.replace("_input", "_label"))
                suffix = label.read_text().strip() if label.is_file() else path.name[:-6]
                sensor = PowerSensor(chip if len(inputs) == 1 else f"{chip}:{suffix}", chip, path)
                sensor.watts()
            except (OSError, ValueError):
                continue
            found.append(sensor)
    return sorted(found, key=lambda s: s.name)


def board_sensor(name: str | None = None, root: Path = HWMON) -> PowerSensor | None:
    """The sensor of that name; without one a known whole-board sensor, or the only one there is.

    None: there is none, or several of which none is known to see the whole board.
    """
    sensors = list_sensors(root)
    if name is not None:
        return next((s for s in sensors if s.name == name), None)
    for chip in WHOLE_BOARD:
        matching = [s for s in sensors if s.chip == chip]
        if len(matching) == 1:
            return matching[0]
    return sensors[0] if len(sensors) == 1 else None


class PowerRecorder:
    """Samples a sensor in a thread from `start` to `stop`."""

    def __init__(self, sensor: PowerSensor, interval_s: float = 0.01) -> None:
        self.sensor = sensor
        self.samples: list[float] = []
        self._interval = interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="power", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _sample(self) -> None:
        while True:
            try:
                self.samples.append(self.sensor.watts())
            except (OSError, ValueError):  # a busy bus: one sample less
                pass
            if self._ended.wait(self._interval):
                return

    @property
    def mean_watts(self) -> float | None:
        """Mean of all samples; None if not one could be read."""
        return sum(self.samples) / len(self.samples) if self.samples else None
