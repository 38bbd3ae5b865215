"""A web page that shows what the accelerator sees: `python -m fpga_gen_host.live deploy/`.

The browser takes pictures, folders, video files or a camera and sends one frame after the other;
the server computes it and answers with the mask and the figures. Needs the extra `live` (Starlette
and uvicorn). Nobody but this machine reaches it unless told otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

try:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route
except ImportError as error:
    if __name__ != "__main__":
        raise
    name = error.name
    sys.exit(f"error: the page needs the package {name!r}: pip install starlette uvicorn")

from fpga_gen_host.accelerator import Accelerator
from fpga_gen_host.errors import HostError
from fpga_gen_host.picture_file import PictureFileError, read_rgb
from fpga_gen_host.power import PowerSensor
from fpga_gen_host.session import Runner
from fpga_gen_host.shown import describe

PAGE = Path(__file__).with_name("live.html")
LOOPBACK, PORT = "127.0.0.1", 8000
MAX_BYTES = 32 << 20  # of a frame
LAYERS = 10  # times shown, the longest first


class LiveRunner:
    """What the page drives. name: of the network or folder; device: what computes, in words."""

    def __init__(self, runner: Runner, name: str, device: str) -> None:
        self.runner, self.name, self.device = runner, name, device
        self._lock = asyncio.Lock()

    @property
    def facts(self) -> dict[str, Any]:
        """What does not change from frame to frame."""
        c, h, w = self.runner.deployment.model_shape
        return {"name": self.name, "device": self.device, "input": f"{c} x {h} x {w}"}

    async def frame(self, picture: np.ndarray) -> dict[str, Any]:
        """Result and figures of one picture, JSON-able; frames are computed one at a time."""
        async with self._lock:
            return await asyncio.get_running_loop().run_in_executor(None, self._frame, picture)

    def _frame(self, picture: np.ndarray) -> dict[str, Any]:
        began = time.perf_counter()
        outputs = self.runner.run(picture)
        seconds = time.perf_counter() - began
        found = describe(outputs, self.runner.deployment, picture)
        figures: dict[str, Any] = {"wall_ms": 1e3 * seconds}
        statistics = getattr(outputs, "statistics", None)
        if statistics is not None:
            figures |= {"latency_ms": 1e3 * statistics.seconds, "cycles": statistics.cycles}
            sensor: PowerSensor | None = getattr(self.runner, "power", None)
            if sensor is not None:
                watts = sensor.watts()
                figures |= {"watts": watts, "joules": watts * statistics.seconds}
        return {**found, "figures": figures, "layers": layer_times(self.runner)}


def layer_times(runner: Runner) -> list[dict[str, Any]]:
    """The instructions that took longest, where the hardware's log can be read."""
    if not isinstance(runner, Accelerator):
        return []
    longest = sorted(runner.layer_times(), key=lambda item: -item.cycles)[:LAYERS]
    return [{"layer": t.layer, "op": t.operation, "ms": 1e3 * t.seconds} for t in longest]


def make_app(live: LiveRunner, hosts: tuple[str, ...] = (LOOPBACK, "localhost")) -> Starlette:
    """The page and its frames. hosts: names under which browsers may ask, so that no page of
    somebody else's reaches the accelerator through the user's browser."""

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE.read_text("utf-8"))

    async def facts(_: Request) -> Response:
        return JSONResponse(live.facts)

    async def frame(request: Request) -> Response:
        # Only a page of this server can send this type without being asked for permission first.
        if not request.headers.get("content-type", "").startswith("image/"):
            return JSONResponse({"error": "send a picture, with its type"}, 415)
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > MAX_BYTES:
                return JSONResponse({"error": f"more than {MAX_BYTES >> 20} MiB"}, 413)
        try:
            return JSONResponse(await live.frame(read_rgb(io.BytesIO(data))))
        except (PictureFileError, HostError) as error:
            return JSONResponse({"error": str(error)}, 422)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/facts", facts),
            Route("/frame", frame, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
    )


def check_port(host: str, port: int) -> None:
    """HostError if nothing can listen there, before a device is opened for it."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise HostError(
            f"{host}:{port}: {error.strerror or error}: choose another --host or --port"
        ) from error


def serve(live: LiveRunner, host: str = LOOPBACK, port: int = PORT) -> None:
    """Serves the page until Ctrl-C. host: address to listen on; another than loopback lets the
    network in."""
    import uvicorn

    hosts = ("*",) if host == "0.0.0.0" else (host, LOOPBACK, "localhost")
    app = make_app(live, hosts)
    # Without "lifespan", a second Ctrl-C would be shown as an error of the page.
    uvicorn.run(app, host=host, port=port, log_level="warning", lifespan="off")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 done, 1 an error with one clear line, 2 usage."""
    parser = argparse.ArgumentParser(prog="fpga_gen_host.live", description=__doc__)
    parser.add_argument("folder", type=Path, help="deploy folder")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on  [%(default)s]")
    parser.add_argument("--port", type=int, default=PORT, help="[%(default)s]")
    options = parser.parse_args(arguments)
    try:
        check_port(options.host, options.port)
        with Accelerator(options.folder) as accelerator:
            print(f"http://{options.host}:{options.port}, Ctrl-C ends it", flush=True)
            serve(LiveRunner(accelerator, options.folder.name, "board"), options.host, options.port)
    except (HostError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
