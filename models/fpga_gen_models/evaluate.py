r"""Segmentation quality of a checkpoint on image/mask folders.

Example:
    python -m fpga_gen_models.evaluate --checkpoint final.pth --data kvasir clinicdb \
        --split validation
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fpga_gen_models.needs import missing

try:
    import torch
except ImportError as error:
    missing(error, __name__)

from torch import nn

from fpga_gen_models.augment import normalise
from fpga_gen_models.data import CachedPairs, DatasetPair, find_pairs, split_pairs
from fpga_gen_models.metrics import MaskMetrics, as_record, mask_metrics, mean_metrics
from fpga_gen_models.runstate import autocast, pick_device, place


@torch.no_grad()
def evaluate(
    model: nn.Module,
    pairs: Sequence[DatasetPair],
    *,
    size: int = 352,
    batch: int = 8,
    device: torch.device | None = None,
    precision: str = "fp32",
) -> dict[str, MaskMetrics]:
    """Mean metrics by data set name, and over all pictures under "all".

    Pictures and masks are resized to size x size and compared there. The model's train/eval mode
    is restored afterwards.
    """
    device = device or torch.device("cpu")
    was_training = model.training
    model.eval()
    by_set: dict[str, list[MaskMetrics]] = {}
    for start in range(0, len(pairs), batch):
        data = CachedPairs.load(pairs[start : start + batch], size)
        images = normalise(data.images.to(device)).contiguous(memory_format=torch.channels_last)
        with autocast(device, precision):
            logits = model(images)
        predicted = (logits > 0).cpu().numpy()
        for pair, found, truth in zip(data.pairs, predicted, data.masks.numpy(), strict=True):
            by_set.setdefault(pair.dataset, []).append(mask_metrics(found, truth > 0))
    model.train(was_training)
    result = {name: mean_metrics(values) for name, values in sorted(by_set.items())}
    result["all"] = mean_metrics(m for values in by_set.values() for m in values)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the metrics as JSON. Returns 0, or 1 if the input is at fault."""
    from fpga_gen_models.checkpoint import load_checkpoint
    from fpga_gen_models.hardnet_mseg import HarDNetMSEG

    parser = argparse.ArgumentParser(prog="python -m fpga_gen_models.evaluate", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="data set folders")
    parser.add_argument("--split", choices=("validation", "training", "everything"))
    parser.add_argument("--size", type=int, default=352)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    try:
        model = HarDNetMSEG()
        load_checkpoint(model, args.checkpoint)
        pairs = [pair for folder in args.data for pair in find_pairs(folder)]
        training, validation = split_pairs(pairs)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    chosen = {"training": training, "everything": pairs}.get(args.split, validation)
    device = pick_device(args.device)
    result = evaluate(place(model, device), chosen, size=args.size, device=device)
    print(json.dumps({name: as_record(metrics) for name, metrics in result.items()}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
