"""The live page: a frame in, a mask and figures out; nobody else's page reaches it."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import fpga_gen
from fpga_gen.images import png_bytes
from fpga_gen.phantom import draw_phantom
from fpga_gen_host.live import MAX_BYTES, LiveRunner, make_app
from tests.board.running import free_address
from tests.test_architecture import ROOT

BASE = "http://127.0.0.1"
TYPE = {"content-type": "image/png"}


@pytest.fixture
def live(built: Path) -> LiveRunner:
    return fpga_gen.Build(built).live()


@pytest.fixture
def client(live: LiveRunner) -> TestClient:
    return TestClient(make_app(live), base_url=BASE)


def test_a_frame_comes_back_as_the_mask_of_the_reference(
    built: Path, live: LiveRunner, client: TestClient
):
    picture, _ = draw_phantom(20, 24, 3)
    answer = client.post("/frame", content=png_bytes(picture), headers=TYPE)
    assert answer.status_code == 200
    found = answer.json()
    mask = np.asarray(Image.open(io.BytesIO(bytes.fromhex(found["mask"]))))
    assert mask.shape == (20, 24, 4)
    inside = mask[..., 3] > 0
    assert found["share"] == pytest.approx(inside.mean())
    expected = live.runner.run(picture)["logits"][0, 0] > 0
    assert bool(inside.any()) == bool(expected.any())
    if expected.any():
        assert 0.5 <= found["confidence"] <= 1
    assert found["figures"]["wall_ms"] > 0
    assert "cycles" not in found["figures"]  # the reference has none
    assert found["layers"] == []


def test_page_and_facts(client: TestClient):
    page = client.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.text
    assert "http://" not in page.text.replace(BASE, "")
    assert client.get("/facts").json() == {
        "name": "net on tiny", "device": "reference", "input": "3 x 12 x 12",
    }  # fmt: skip


def test_what_is_no_picture_is_an_error_and_the_next_frame_works(client: TestClient):
    assert client.post("/frame", content=b"text", headers=TYPE).status_code == 422
    assert "picture" in client.post("/frame", content=b"text", headers=TYPE).json()["error"]
    too_much = client.post("/frame", content=bytes(MAX_BYTES + 1), headers=TYPE)
    assert too_much.status_code == 413
    assert client.get("/frame").status_code == 405
    picture = png_bytes(draw_phantom(16, 16, 1)[0])
    assert client.post("/frame", content=picture, headers=TYPE).status_code == 200


def test_no_other_page_reaches_it(live: LiveRunner, client: TestClient):
    picture = png_bytes(draw_phantom(16, 16, 1)[0])
    plain = {"content-type": "text/plain"}  # what a form of another page may send
    assert client.post("/frame", content=picture, headers=plain).status_code == 415
    foreign = TestClient(make_app(live), base_url="http://rebound.example")
    assert foreign.get("/").status_code == 400


# The server interrupts itself, and again once it has begun to stop.
TWICE = """
import os, signal, sys, uvicorn
from fpga_gen_host import live
async def main_loop(self):
    os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGINT)
uvicorn.Server.main_loop = main_loop
live.serve(object(), sys.argv[1])
"""


def test_a_second_ctrl_c_is_no_error_of_the_page():
    done = subprocess.run(
        [sys.executable, "-c", TWICE, free_address()],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "host")))},
    )  # fmt: skip
    assert done.stderr == ""


def test_a_port_that_is_taken_is_named(cli, built: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = cli("serve", built, "--port", port)
    assert result.code == 1
    assert f"127.0.0.1:{port}: Address already in use" in result.err
    assert "choose another --host or --port" in result.err
    assert result.out == "", "no address is shown that is another program's"
