"""Settings of a training run, and their options on the command line."""

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fpga_gen_models.data import DatasetPair, find_pairs


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run; sizes in pixels, times in minutes.

    size: side of the evaluated picture; training uses size times one of `scales`, rounded to 32.
    start_size: side at the beginning, growing to `size` over the first half of the run.
    steps or minutes: end of the run, one of them positive. ema: decay of the averaged weights, 0
    for none. validation: fraction of the groups held out; salt: see `split_pairs`. development:
    fraction of the other groups that is not trained on either, but validated during the run in
    place of the held-out ones. threads: of the CPU, 0 for all; on a busy machine one is faster than
    several that wait for each other.
    """

    size: int = 352
    start_size: int = 352
    scales: tuple[float, ...] = (0.75, 1.0, 1.25)
    batch: int = 8
    rate: float = 3e-4
    weight_decay: float = 1e-4
    clip: float = 1.0
    steps: int = 0
    minutes: float = 0.0
    ema: float = 0.998
    precision: str = "bf16"
    cache_size: int = 352
    freeze_norms: bool = False
    validation: float = 0.1
    development: float = 0.0
    salt: str = ""
    save_minutes: float = 5.0
    eval_minutes: float = 10.0
    eval_subset: int = 40
    seed: int = 0
    device: str = "auto"
    threads: int = 0


HELP = {  # of every field of `TrainConfig`, with its unit
    "size": "side of the picture that the network takes, pixels, a multiple of 32",
    "start_size": "side at the beginning, pixels; grows to --size over the first half of the run",
    "scales": "factors of the side that take turns at random",
    "batch": "pictures in a step",
    "rate": "highest learning rate; of AdamW, with a cosine to a hundredth of it",
    "weight_decay": "weight decay of AdamW, of weights alone",
    "clip": "largest norm of the gradient",
    "steps": "end after this many steps; give this or --minutes",
    "minutes": "end after this time, minutes; give this or --steps",
    "ema": "decay of the averaged weights in a step, 0 for none",
    "precision": "of the forward pass: bfloat16, or float32",
    "cache_size": "side at which pictures are kept in memory, pixels; 4 * side^2 bytes each",
    "freeze_norms": "keep the statistics of the BatchNorms of --init; right where few and small "
    "batches fine-tune a network that is good already",
    "validation": "fraction of the pictures held out, by a hash of their names",
    "development": "fraction of the others to validate on during the run, so that no choice is "
    "made by the held-out ones",
    "salt": "another text gives another split",
    "save_minutes": "time between two saves, minutes",
    "eval_minutes": "time between two validations, minutes",
    "eval_subset": "pictures of a validation during the run",
    "seed": "of weights, order and augmentation",
    "device": "auto, cpu, cuda or cuda:N",
    "threads": "of the CPU, 0 for all; on a busy machine one is faster than several",
}


def add_run_options(parser: argparse.ArgumentParser, defaults: TrainConfig) -> None:
    """Data, output folder and an option for every field of `TrainConfig`."""
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="folders with images/ and masks/ of equal names; masks: 8 bit, foreground above 127",
    )
    parser.add_argument(
        "--extra",
        type=Path,
        nargs="+",
        default=(),
        help="more such folders, of which no picture is ever held out: drawn ones, say",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of all results")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    for name, default in asdict(defaults).items():
        option = "--" + name.replace("_", "-")
        text = f"{HELP[name]}  [default: %(default)s]"
        if name == "scales":
            parser.add_argument(option, type=float, nargs="+", default=default, help=text)
        elif isinstance(default, bool):
            parser.add_argument(option, action="store_true", default=default, help=HELP[name])
        elif name == "precision":
            choices = ("bf16", "fp32")
            parser.add_argument(option, choices=choices, default=default, help=text)
        else:
            parser.add_argument(option, type=type(default), default=default, help=text)


def read_folders(args: argparse.Namespace) -> list[DatasetPair]:
    """The pairs of --data, then those of --extra."""
    pairs = [pair for folder in args.data for pair in find_pairs(folder)]
    extra = [pair for folder in args.extra for pair in find_pairs(folder)]
    return [*pairs, *(replace(pair, training_only=True) for pair in extra)]


def run_config(args: argparse.Namespace) -> TrainConfig:
    """The settings of a parsed command line."""
    fields = {name: getattr(args, name) for name in asdict(TrainConfig())}
    return TrainConfig(**{**fields, "scales": tuple(args.scales)})
