"""The live page in headless Chromium: pictures, a video and a camera in, masks and figures out."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Page, expect

import fpga_gen
from fpga_gen.images import write_png
from fpga_gen.phantom import draw_phantom
from fpga_gen_host.live import make_app
from tests.browsers import LAPTOP, PHONE, Shown, chromium, new_page

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
SECONDS = 60  # a busy machine
RECORD = """
async () => {
  const canvas = document.createElement("canvas");
  canvas.width = 64; canvas.height = 48;
  const context = canvas.getContext("2d");
  const recorder = new MediaRecorder(canvas.captureStream(10), { mimeType: "video/webm" });
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  const ended = new Promise((done) => { recorder.onstop = done; });
  recorder.start();
  for (let i = 0; i < 10; i++) {
    context.fillStyle = `rgb(${20 * i}, 90, 80)`;
    context.fillRect(0, 0, 64, 48);
    await new Promise((done) => setTimeout(done, 100));
  }
  recorder.stop();
  await ended;
  return [...new Uint8Array(await new Blob(parts).arrayBuffer())];
}
"""


@pytest.fixture(scope="module")
def browser():
    with chromium(*CAMERA) as started:
        yield started


@pytest.fixture
def address(built: Path) -> Iterator[str]:
    """The page of a build, served on a free port of this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        live = fpga_gen.Build(built).live()
        server = uvicorn.Server(uvicorn.Config(make_app(live), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(SECONDS)


@pytest.fixture
def show(browser, address: str):
    contexts = []

    def open_page(size: tuple[int, int] = LAPTOP) -> Shown:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        context.set_default_timeout(1000 * SECONDS)
        contexts.append(context)
        shown = new_page(context)
        shown.page.goto(address)
        expect(shown.page.locator("#name")).to_have_text("net on tiny")
        return shown

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two drawings in a folder of their own, beside a text file."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in (0, 1):
        write_png(folder / f"{number}.png", draw_phantom(96, 128, number)[0])
    (folder / "notes.txt").write_text("no picture")
    return sorted(folder.glob("*.png"))


def frames(page: Page, pattern: str) -> None:
    """Waits until the number of frames shown matches."""
    row = page.locator("#figures dt", has_text=re.compile("^frames$")).locator("+ dd")
    expect(row).to_have_text(re.compile(f"^{pattern}$"), timeout=1000 * SECONDS)


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_pictures(show, pictures: list[Path], address: str, size: tuple[int, int]):
    """Both are computed; the mask lies exactly over the picture, and all fits the width."""
    shown = show(size)
    page = shown.page
    page.locator("#pictures").set_input_files(pictures)
    frames(page, "2")
    expect(page.locator("#figures")).to_contain_text("1.png")
    expect(page.locator("#figures")).to_contain_text("share of the picture")
    expect(page.locator("#mask")).to_be_visible()
    picture, mask = (page.locator(name).bounding_box() for name in ("#picture", "#mask"))
    assert picture == pytest.approx(mask, abs=1)
    assert picture["width"] / picture["height"] == pytest.approx(128 / 96, rel=0.02)
    assert picture["y"] + picture["height"] <= size[1]
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    expect(page.locator("#error")).to_be_empty()
    assert shown.said == []
    assert [url for url in shown.requested if not url.startswith((address, "blob:"))] == []


def test_a_folder(show, pictures: list[Path]):
    """Its pictures are taken, and nothing else; the same folder can be chosen again."""
    page = show().page
    for _ in range(2):
        page.locator("#folder").set_input_files(pictures[0].parent)
        frames(page, "2")


def test_errors_are_shown_and_the_next_source_works(show, pictures: list[Path]):
    page = show().page
    broken = pictures[0].with_name("broken.png")
    broken.write_bytes(b"text")
    page.locator("#pictures").set_input_files(broken)
    expect(page.locator("#error")).to_contain_text("broken.png: ")
    page.locator("#pictures").set_input_files(pictures[0].with_name("notes.txt"))
    expect(page.locator("#error")).to_have_text("No pictures among these files.")
    page.locator("#video").set_input_files(broken)
    expect(page.locator("#error")).to_contain_text("cannot play this video")
    page.locator("#pictures").set_input_files(pictures)
    frames(page, "2")
    expect(page.locator("#error")).to_be_empty()
    page.route("**/frame", lambda route: route.abort())
    page.locator("#pictures").set_input_files(pictures)
    expect(page.locator("#error")).to_contain_text("does not answer")


def test_a_video(show, tmp_path: Path):
    """Made by the browser itself; the page ends with it."""
    page = show().page
    film = tmp_path / "film.webm"
    film.write_bytes(bytes(page.evaluate(RECORD)))
    assert film.stat().st_size > 500
    page.locator("#video").set_input_files(film)
    frames(page, r"\d+")
    assert page.evaluate("document.getElementById('picture').naturalWidth") == 64
    expect(page.locator("#error")).to_be_empty()


def test_a_page_of_another_machine_gets_no_camera(show):
    """Browsers hide the camera from it, as from every page that comes without HTTPS."""
    page = show().page
    page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    page.locator("#camera").click()
    expect(page.locator("#error")).to_contain_text("Open a tunnel, ssh -L 8000")


def test_before_the_first_picture_nothing_is_shown(show, pictures: list[Path]):
    page = show().page
    for name in ("#picture", "#mask"):
        expect(page.locator(name)).to_be_hidden()
    expect(page.locator("#stop")).to_be_disabled()
    page.locator("#pictures").set_input_files(pictures)
    frames(page, "2")
    expect(page.locator("#picture")).to_be_visible()
    expect(page.locator("#stop")).to_be_disabled()


def test_a_camera_until_stop(show):
    page = show().page
    page.locator("#camera").click()
    frames(page, r"[2-9]|\d\d+")
    page.locator("#stop").click()
    page.wait_for_timeout(500)
    counted = page.locator("#figures").text_content()
    page.wait_for_timeout(500)
    assert page.locator("#figures").text_content() == counted
    expect(page.locator("#error")).to_be_empty()
