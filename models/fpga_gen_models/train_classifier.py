r"""Training a HarDNet classifier on labelled pictures.

Example:
    python -m fpga_gen_models.train_classifier --variant 68 --data train --validation val \
        --out run --minutes 600

A picture folder holds one sub-folder per class, or labels.csv. The output folder receives
config.json, last.pth (all that a resumed run needs), and at the end final.pth and metrics.json.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fpga_gen_models.needs import missing

try:
    import torch
except ImportError as error:
    missing(error, __name__)

from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from fpga_gen.disk import replace_file
from fpga_gen_models.augment import normalise
from fpga_gen_models.checkpoint import load_checkpoint, save_half
from fpga_gen_models.hardnet import build_hardnet
from fpga_gen_models.hardnet_spec import SPECS
from fpga_gen_models.image_classes import (
    LabelledImage,
    find_labelled,
    training_batches,
    validation_batches,
)
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

log = logging.getLogger("fpga_gen_models.train_classifier")


@dataclass(frozen=True)
class ClassifierConfig:
    """Settings of a run.

    variant: key of `hardnet.SPECS`; size: side of the picture; rate: peak learning rate for
    a batch of 256, scaled with the batch; smoothing: label smoothing; steps or minutes: end of the
    run, one of them positive; ema: decay of the averaged weights, 0 for none.
    """

    variant: str = "68"
    classes: int = 1000
    size: int = 224
    batch: int = 128
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 6e-5
    smoothing: float = 0.1
    steps: int = 0
    minutes: float = 0.0
    ema: float = 0.0
    precision: str = "bf16"
    workers: int = 2
    save_minutes: float = 10.0
    seed: int = 0
    device: str = "auto"


class ClassifierTrainer:
    """One run: model, optimiser, averaged weights and the files in `out`."""

    def __init__(self, config: ClassifierConfig, items: list[LabelledImage], out: Path) -> None:
        highest = max(item.label for item in items)
        if highest >= config.classes:
            raise ValueError(f"class index {highest}, but only {config.classes} classes")
        self.config, self.items, self.out = config, items, out
        self.device = pick_device(config.device)
        peak = config.rate * config.batch / 256
        self.schedule = RateSchedule(peak, config.steps, config.minutes)
        torch.manual_seed(config.seed)
        self.model = place(build_hardnet(config.variant, config.classes), self.device)
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.SGD(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others}],
            lr=peak,
            momentum=config.momentum,
            nesterov=True,
        )
        self.average: AveragedWeights | None = None
        self.step = 0
        self.clock = Clock()

    def start(self, init: Path | None, resume: bool) -> None:
        """Loads the starting weights, or the state of an earlier run in `out`."""
        if init is not None:
            load_checkpoint(self.model, init)
        if self.config.ema:
            self.average = AveragedWeights(self.model, self.config.ema)
        if resume and (self.out / "last.pth").exists():
            facts = load_run(self.out / "last.pth", self.model, self.optimizer, self.average)
            self.step, self.clock = facts["step"], Clock(facts["seconds"])

    def train_step(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """One optimiser step on uint8 pictures [N, 3, S, S] and class indices [N]."""
        config = self.config
        torch.manual_seed(config.seed * 9_000_011 + self.step)  # dropout
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.progress())
        batch = normalise(images.to(self.device)).contiguous(memory_format=torch.channels_last)
        with autocast(self.device, config.precision):
            logits = self.model(batch)
        target = labels.to(self.device)
        loss = F.cross_entropy(logits.float(), target, label_smoothing=config.smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model)
        self.step += 1
        return loss.item()

    def progress(self) -> float:
        return self.schedule.progress(self.step, self.clock.seconds())

    def weights(self) -> dict[str, torch.Tensor]:
        """The averaged weights where there are any, otherwise the model's."""
        return self.model.state_dict() if self.average is None else self.average.state

    def save(self) -> None:
        facts = {"step": self.step, "seconds": self.clock.seconds()}
        save_run(self.out / "last.pth", self.model, self.optimizer, self.average, facts)

    def run(self, stop: StopRequest) -> None:
        """Trains to the end of the schedule, or until `stop` is asked."""
        config = self.config
        batches = training_batches(
            self.items, config.size, config.batch, self.step, config.seed, config.workers
        )
        next_save = self.clock.seconds() + 60 * config.save_minutes
        interval = 0.5 if sys.stderr.isatty() else 30
        with tqdm(total=100, unit="%", mininterval=interval, desc="training") as bar:
            while self.progress() < 1 and not stop:
                loss = self.train_step(*next(batches))
                bar.set_postfix(step=self.step, loss=f"{loss:.4f}", refresh=False)
                bar.update(round(100 * self.progress(), 2) - bar.n)
                if self.clock.seconds() >= next_save:
                    self.save()
                    next_save = self.clock.seconds() + 60 * config.save_minutes
        self.save()

    def finish(self, validation: list[LabelledImage]) -> dict[str, float | int]:
        """Writes final.pth and metrics.json; returns top-1 and top-5 accuracy (0 to 1)."""
        replace_file(self.out / "final.pth", lambda stream: save_half(self.weights(), stream))
        model = build_hardnet(self.config.variant, self.config.classes)
        load_checkpoint(model, self.out / "final.pth")
        model = model.to(self.device).eval()
        top1, top5 = accuracy(model, validation, self.config.size, self.device)
        record = {"step": self.step, "images": len(validation), "top1": top1, "top5": top5}
        write_json(self.out / "metrics.json", record)
        return record


@torch.no_grad()
def accuracy(
    model: nn.Module, items: list[LabelledImage], size: int, device: torch.device
) -> tuple[float, float]:
    """(top-1, top-5) accuracy, 0 to 1, of a model in eval mode on centre crops."""
    hits1 = hits5 = 0
    for images, labels in validation_batches(items, size, 32):
        logits = model(normalise(images.to(device)))
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices.cpu()
        matches = ranked == labels.unsqueeze(1)
        hits1 += int(matches[:, 0].sum())
        hits5 += int(matches.any(1).sum())
    return hits1 / len(items), hits5 / len(items)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a training. Returns 0, or 1 if the input is at fault."""
    parser = argparse.ArgumentParser(
        prog="python -m fpga_gen_models.train_classifier",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="training pictures")
    parser.add_argument("--validation", type=Path, required=True, help="validation pictures")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--init", type=Path, help="checkpoint to start from")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    choices = {"variant": tuple(SPECS), "precision": ("bf16", "fp32")}
    for name, default in asdict(ClassifierConfig()).items():
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=type(default), default=default, choices=choices.get(name))
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        config = ClassifierConfig(**{n: getattr(args, n) for n in asdict(ClassifierConfig())})
        items, validation = find_labelled(args.data), find_labelled(args.validation)
        args.out.mkdir(parents=True, exist_ok=True)
        trainer = ClassifierTrainer(config, items, args.out)
        trainer.start(args.init, args.resume)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_json(args.out / "config.json", asdict(config))
    trainer.run(StopRequest().install())
    log.info("validation: %s", trainer.finish(validation))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
