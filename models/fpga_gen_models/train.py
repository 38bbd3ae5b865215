"""Training HarDNet-MSEG on folders of pictures and masks.

Example, fine-tuning for two hours from a checkpoint:
    python -m fpga_gen_models.train --data kvasir clinicdb --out run --init start.pth --minutes 120

or from the network of this repository:
    python -m fpga_gen_models.train --data mine --out run --minutes 60 \
        --init models/pretrained/hardnet-mseg.onnx

The output folder receives config.json, held-out.txt (names of the pictures that are not trained on,
for `fpga-gen evaluate --only`), last.pth (all that a resumed run needs), best.pth and
ema.pth (weights, half precision), log.csv (loss and Dice over time), and at the end final.pth and
metrics.json. `fpga-gen models export hardnet-mseg --checkpoint run/final.pth` makes the ONNX file.
"""

import argparse
import copy
import json
import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from fpga_gen_models.needs import missing

try:
    import torch
except ImportError as error:
    missing(error, __name__)

from torch import nn
from tqdm import tqdm

from fpga_gen.disk import replace_file
from fpga_gen.errors import FpgaGenError
from fpga_gen_models.augment import augment, normalise
from fpga_gen_models.checkpoint import load_checkpoint, save_half
from fpga_gen_models.data import (
    CachedPairs,
    DatasetPair,
    sample_indices,
    split_pairs,
    spread_subset,
)
from fpga_gen_models.evaluate import evaluate
from fpga_gen_models.from_onnx import load_onnx
from fpga_gen_models.hardnet_mseg import HarDNetMSEG
from fpga_gen_models.losses import structure_loss
from fpga_gen_models.metrics import as_record
from fpga_gen_models.runlog import RunLog
from fpga_gen_models.runstate import (
    AveragedWeights,
    Clock,
    RateSchedule,
    StopRequest,
    autocast,
    load_run,
    pick_device,
    place,
    save_run,
    write_json,
)
from fpga_gen_models.train_config import TrainConfig, add_run_options, read_folders, run_config

log = logging.getLogger("fpga_gen_models.train")

DEVELOPMENT = "development "  # salt of the second split
INIT_PICTURES = 16  # whose statistics the BatchNorms of an ONNX file get


def training_size(config: TrainConfig, progress: float, step: int) -> int:
    """Side of the pictures of one step, a multiple of 32; the scales take turns at random."""
    grown = min(1.0, 2 * progress)
    side = config.start_size + (config.size - config.start_size) * grown
    generator = torch.Generator().manual_seed(config.seed * 7_000_003 + step)
    choice = int(torch.randint(len(config.scales), (), generator=generator))
    return max(32, round(side * config.scales[choice] / 32) * 32)


class Trainer:
    """One run: model, optimiser, averaged weights, data, and the files in `out`."""

    def __init__(self, config: TrainConfig, pairs: Sequence[DatasetPair], out: Path) -> None:
        self.config = config
        self.out = out
        training, self.validation = split_pairs(pairs, config.validation, config.salt)
        if not training or not self.validation:
            raise ValueError("the split leaves no pictures for training or for validation")
        watched = self.validation
        if config.development:
            training, watched = split_pairs(training, config.development, DEVELOPMENT + config.salt)
            if not training or not watched:
                raise ValueError("no pictures are left for training or for development")
        self.subset = spread_subset(watched, config.eval_subset)
        self.device = pick_device(config.device)
        self.schedule = RateSchedule(config.rate, config.steps, config.minutes)
        torch.manual_seed(config.seed)
        self.model = place(self.new_model(), self.device)
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others}],
            lr=config.rate,
            weight_decay=0.0,
        )
        self.average: AveragedWeights | None = None
        self.step = 0
        self.best = -math.inf
        self.clock = Clock()
        log.info("%d pictures to train on, %d held out", len(training), len(self.validation))
        self.data = CachedPairs.load(training, config.cache_size)

    def new_model(self) -> nn.Module:
        """The network with its first weights; called once, after the seed was set."""
        return HarDNetMSEG()

    def start(self, init: Path | None, resume: bool) -> None:
        """Loads the starting weights, or the state of an earlier run in `out`."""
        if init is not None and init.suffix.lower() == ".onnx":
            pictures = normalise(self.data.images[:INIT_PICTURES]).to(self.device)
            count = load_onnx(self.model, init, pictures)
            log.info("%s: %d convolutions", init.name, count)
        elif init is not None:
            report = load_checkpoint(self.model, init)
            log.info("%s: %d tensors, %d ignored", init.name, report.loaded, len(report.ignored))
        if self.config.ema:
            self.average = AveragedWeights(self.model, self.config.ema)
        if resume and (self.out / "last.pth").exists():
            facts = load_run(self.out / "last.pth", self.model, self.optimizer, self.average)
            self.step, self.best = facts["step"], facts["best"]
            self.clock = Clock(facts["seconds"])
            log.info("resumed at step %d, %.1f minutes", self.step, facts["seconds"] / 60)
        names = "".join(f"{pair.image.name}\n" for pair in self.validation)
        replace_file(self.out / "held-out.txt", names.encode())
        self.log = RunLog(self.out / "log.csv", self.step)

    def progress(self) -> float:
        return self.schedule.progress(self.step, self.clock.seconds())

    def train_step(self) -> tuple[float, int]:
        """One optimiser step. Returns the loss and the side of the pictures."""
        config, progress = self.config, self.progress()
        chosen = sample_indices(len(self.data), config.batch, self.step, config.seed)
        side = training_size(config, progress, self.step)
        images = self.data.images[chosen].to(self.device)
        masks = self.data.masks[chosen].to(self.device)
        generator = torch.Generator().manual_seed(config.seed * 9_000_011 + self.step)
        images, masks = augment(images, masks, side, generator)
        images = images.contiguous(memory_format=torch.channels_last)

        self.model.train()
        if config.freeze_norms:
            for norm in self.model.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.eval()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(progress)
        with autocast(self.device, config.precision):
            logits = self.model(images)
        loss = structure_loss(logits, masks)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.before_update()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        if torch.isfinite(norm):
            self.optimizer.step()
            self.after_update()
            if self.average is not None:
                self.average.update(self.model)
        else:
            log.warning("step %d: gradient is not finite, skipped", self.step)
        self.step += 1
        return loss.item(), side

    def before_update(self) -> None:
        """Called in every step when the gradients are there."""

    def after_update(self) -> None:
        """Called when the optimiser has changed the weights, before they are averaged."""

    def weights(self) -> dict[str, torch.Tensor]:
        """The averaged weights where there are any, otherwise the model's."""
        return self.model.state_dict() if self.average is None else self.average.state

    def evaluated_model(self) -> nn.Module:
        """A model with `weights()`, in eval mode."""
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.weights())
        return place(model, self.device).eval()

    def save(self) -> None:
        """Writes last.pth and ema.pth."""
        facts = {"step": self.step, "best": self.best, "seconds": self.clock.seconds()}
        save_run(self.out / "last.pth", self.model, self.optimizer, self.average, facts)
        replace_file(self.out / "ema.pth", lambda stream: save_half(self.weights(), stream))
        self.log.save()

    def validate_subset(self) -> float:
        """Mean Dice on the subset; writes best.pth when it is the best so far."""
        model, config = self.evaluated_model(), self.config
        result = evaluate(
            model, self.subset, size=config.size, device=self.device, precision=config.precision
        )
        dice = {name: round(metrics.dice, 4) for name, metrics in result.items()}
        log.info("step %d: Dice on the subset %s", self.step, json.dumps(dice))
        self.log.dice(self.step, self.clock.seconds(), result["all"].dice)
        if result["all"].dice > self.best:
            self.best = result["all"].dice
            replace_file(self.out / "best.pth", lambda stream: save_half(self.weights(), stream))
        return result["all"].dice

    def run(self, stop: StopRequest) -> None:
        """Trains to the end of the schedule, or until `stop` is asked."""
        config = self.config
        next_save = self.clock.seconds() + 60 * config.save_minutes
        next_eval = self.clock.seconds() + 60 * config.eval_minutes
        quiet = not sys.stderr.isatty()
        bar = tqdm(total=100, unit="%", mininterval=30 if quiet else 0.5, desc="training")
        while self.progress() < 1 and not stop:
            loss, side = self.train_step()
            if not math.isfinite(loss):
                log.warning("step %d: loss %s", self.step, loss)
            seconds = self.clock.seconds()
            rate = self.optimizer.param_groups[0]["lr"]
            self.log.add(self.step, seconds, rate, side, loss)
            bar.set_postfix(step=self.step, loss=f"{loss:.4f}", side=side, refresh=False)
            bar.update(round(100 * self.progress(), 2) - bar.n)
            if seconds >= next_eval:
                self.validate_subset()
                next_eval = self.clock.seconds() + 60 * config.eval_minutes
                next_save = seconds
            if seconds >= next_save:
                self.save()
                next_save = self.clock.seconds() + 60 * config.save_minutes
        bar.close()
        self.save()

    def finish(self, init: Path | None) -> None:
        """Writes final.pth, then metrics.json: the final weights on the whole validation split."""
        replace_file(self.out / "final.pth", lambda stream: save_half(self.weights(), stream))
        model = HarDNetMSEG()
        load_checkpoint(model, self.out / "final.pth")  # as stored: rounded to half precision
        place(model, self.device)
        result = evaluate(model, self.validation, size=self.config.size, device=self.device)
        record = {
            "step": self.step,
            "minutes": round(self.clock.seconds() / 60, 1),
            "size": self.config.size,
            "initial_weights": None if init is None else init.name,
            "training_pictures": len(self.data),
            "validation": {name: as_record(metrics) for name, metrics in result.items()},
        }
        write_json(self.out / "metrics.json", record)
        log.info("validation: %s", json.dumps(record["validation"]))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; every field of `TrainConfig` is an option of the same name."""
    parser = argparse.ArgumentParser(
        prog="python -m fpga_gen_models.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--init", type=Path, help="weights to start from: a checkpoint, or an exported ONNX file"
    )
    add_run_options(parser, TrainConfig())
    return parser.parse_args(argv)


def run_trainer(
    args: argparse.Namespace,
    make: Callable[[TrainConfig, Sequence[DatasetPair], Path], Trainer],
) -> int:
    """A run as the options of `add_run_options` and --init say. Returns 0, or 1 if the input is at
    fault."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        config = run_config(args)
        pairs = read_folders(args)
        args.out.mkdir(parents=True, exist_ok=True)
        trainer = make(config, pairs, args.out)
        trainer.start(args.init, args.resume)
    except (OSError, ValueError, FpgaGenError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_json(args.out / "config.json", asdict(config))
    trainer.run(StopRequest().install())
    trainer.finish(args.init)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a training. Returns 0, or 1 if the input is at fault."""
    return run_trainer(parse_arguments(argv), Trainer)


if __name__ == "__main__":
    raise SystemExit(main())
