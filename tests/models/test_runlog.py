"""log.csv: a row for ten steps, one for a validation, none twice after a resumed run."""

import csv
from pathlib import Path

from fpga_gen_models.runlog import RunLog


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_of_a_run_and_of_its_resumption(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = RunLog(path, 0)
    for step in range(1, 26):
        log.add(step, 6.0 * step, 1e-3, 64, float(step))
    log.dice(25, 150.0, 0.5)
    log.save()
    found = rows(path)
    assert [row["step"] for row in found] == ["10", "20", "25"]
    assert found[0] | {} == {
        "step": "10", "minutes": "1.00", "rate": "1.000e-03", "side": "64", "loss": "5.50000",
        "dice": "",
    }  # fmt: skip
    assert (found[2]["loss"], found[2]["dice"]) == ("23.00000", "0.5000")
    resumed = RunLog(path, 20)
    resumed.add(30, 200.0, 1e-3, 64, 2.0)
    resumed.save()
    assert [row["step"] for row in rows(path)] == ["10", "20", "30"]
    assert RunLog(path, 0).rows == []
