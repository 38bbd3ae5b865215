"""`fpga-gen models list` and `export`."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import click
from rich.table import Table

from fpga_gen.cli.common import Settings, common_options
from fpga_gen.errors import FpgaGenError


@click.group()
@common_options
def models() -> None:
    """Reference networks: list them, export one as ONNX."""


@models.command(name="list")
@common_options
@click.pass_obj
def list_models(settings: Settings) -> None:
    """List the reference networks."""
    from fpga_gen_models import MODELS
    from fpga_gen_models.zoo import NETWORKS

    entries = [
        (name, info.input_size, f"{info.input_size}x{info.input_size}", info.description)
        for name, info in MODELS.items()
    ]
    for name, network in NETWORKS.items():
        size = "x".join(map(str, network.shape[1:]))
        entries.append((name, network.shape[-1], size, f"{network.description}, random weights"))
    settings.result(
        [{"name": n, "input_size": pixels, "description": text} for n, pixels, _, text in entries]
    )
    table = Table("model", "input", "description")
    for name, _, size, text in entries:
        table.add_row(name, size, text)
    settings.show(table)


@models.command()
@click.argument("name")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="ONNX file.  [default: NAME.onnx]"
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Trained weights (.pth); without it they are random.",
)
@click.option(
    "--input-size",
    type=click.IntRange(32),
    help="Height and width in pixels.  [default: the network's own]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of random weights.")
@click.option(
    "--half", is_flag=True, help="Store the weights as float16: half the size of the file."
)
@common_options
@click.pass_obj
def export(
    settings: Settings,
    name: str,
    output: Path | None,
    checkpoint: Path | None,
    input_size: int | None,
    seed: int,
    half: bool,
) -> None:
    """Export the network NAME as ONNX (the HarDNets need the extra `models`)."""
    path = export_model(name, output or Path(f"{name}.onnx"), checkpoint, input_size, seed, half)
    settings.result({"model": name, "onnx": str(path)})
    weights = "random weights" if checkpoint is None else str(checkpoint)
    settings.say(f"{path}: {name} with {weights}")


def export_model(
    name: str,
    path: Path,
    checkpoint: Path | None,
    input_size: int | tuple[int, int] | None,
    seed: int,
    half: bool = False,
) -> Path:
    """Calls fpga_gen_models.export. input_size: both sides, or height and width of a network of the
    zoo. Every fault of the input becomes an FpgaGenError."""
    from fpga_gen_models import MODELS
    from fpga_gen_models.export import export_onnx  # imports torch only when it is called
    from fpga_gen_models.zoo import NETWORKS, export_network

    if name in NETWORKS:
        if checkpoint is not None:
            raise FpgaGenError(f"{name} has random weights only: leave --checkpoint out")
        try:
            return export_network(name, path, size=input_size, seed=seed, half=half)
        except (ValueError, OSError) as error:
            raise FpgaGenError(f"cannot export {name}: {error}") from error
    if name not in MODELS:
        known = [*MODELS, *NETWORKS]
        near = get_close_matches(name, known, 1)
        guess = f": did you mean {near[0]}?" if near else ";"
        raise FpgaGenError(f"unknown model {name!r}{guess} known models: {', '.join(known)}")
    if isinstance(input_size, tuple):
        raise FpgaGenError(f"{name} takes square pictures: give one size")
    if checkpoint is not None and not checkpoint.is_file():
        raise FpgaGenError(f"{checkpoint}: no such checkpoint file")
    try:
        return export_onnx(
            name, path, checkpoint=checkpoint, input_size=input_size, seed=seed, half=half
        )
    except ImportError as error:
        raise FpgaGenError(
            f"models export needs the package {error.name!r}: pip install 'fpga-gen[models]'"
        ) from error
    except (ValueError, OSError) as error:
        raise FpgaGenError(f"cannot export {name}: {error}") from error
