"""Splits, sampling and augmentation."""

from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import numpy as np
import torch
from PIL import Image

from fpga_gen_models.augment import Augmentation, augment, normalise
from fpga_gen_models.data import (
    CLINICDB_SEQUENCES,
    CachedPairs,
    DatasetPair,
    find_pairs,
    group_name,
    open_picture,
    sample_indices,
    split_pairs,
    spread_subset,
)


def _pairs(dataset: str, stems: list[str]) -> list[DatasetPair]:
    return [DatasetPair(dataset, Path(s), Path(s), group_name(dataset, s)) for s in stems]


def test_split_is_disjoint_stable_and_keeps_sequences_whole() -> None:
    frames = _pairs("clinicdb", [str(n) for n in range(1, 613)])
    singles = _pairs("kvasir", [f"cju{n:05d}" for n in range(900)])
    training, validation = split_pairs(frames + singles)
    assert sorted(p.image for p in training + validation) == sorted(
        p.image for p in frames + singles
    )
    assert not {p.group for p in training} & {p.group for p in validation}
    assert 60 < sum(p.dataset == "kvasir" for p in validation) < 130
    assert 30 < sum(p.dataset == "clinicdb" for p in validation) < 130
    # other files, or another order, move nothing
    again = split_pairs(list(reversed(frames[::2])) + singles[100:])[1]
    assert {p.image for p in again} == {p.image for p in validation} & {
        p.image for p in frames[::2] + singles[100:]
    }
    assert {p.group for p in split_pairs(frames, salt="x")[1]} != {
        p.group for p in split_pairs(frames)[1]
    }


def test_of_few_pictures_some_are_held_out() -> None:
    """Forty whose names all fall on the other side: chance does that once in seventy times."""
    few = _pairs("data", [f"{n:04d}" for n in range(40)])
    training, validation = split_pairs(few)
    assert (len(training), len(validation)) == (36, 4)
    assert split_pairs(list(reversed(few)))[1][::-1] == validation
    assert [len(part) for part in split_pairs(few[:1])] == [1, 0]
    assert [len(part) for part in split_pairs(few, 0.0)] == [40, 0]


def test_frames_of_a_sequence_share_a_group() -> None:
    assert len(CLINICDB_SEQUENCES) == 29
    groups = [group_name("clinicdb", str(n)) for n in range(1, 613)]
    assert groups == sorted(groups)
    assert len(set(groups)) == 29
    assert groups[0] == groups[24] != groups[25]
    assert group_name("kvasir", "1") != group_name("kvasir", "2")


def _write_set(folder: Path, count: int) -> None:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for n in range(count):
        picture = np.full((20, 30, 3), 10 * n, dtype=np.uint8)
        mask = np.zeros((20, 30), dtype=np.uint8)
        mask[:, 15:] = 255
        Image.fromarray(picture).save(folder / "images" / f"{n}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{n}.png")


def test_reading_a_folder(tmp_path: Path) -> None:
    _write_set(tmp_path / "set", 3)
    pairs = find_pairs(tmp_path / "set")
    assert [p.image.name for p in pairs] == ["0.png", "1.png", "2.png"]
    data = CachedPairs.load(pairs, 16)
    assert data.images.shape == (3, 3, 16, 16)
    assert (data.images[2] == 20).all()
    assert data.masks[0, 0, :, :8].sum() == 0
    assert data.masks[0, 0, :, 8:].all()

    (tmp_path / "set" / "masks" / "1.png").unlink()
    with pytest.raises(ValueError, match="without mask: 1"):
        find_pairs(tmp_path / "set")
    with pytest.raises(ValueError, match="no pictures"):
        find_pairs(tmp_path)


def test_pictures_are_read_as_the_driver_reads_them(tmp_path: Path) -> None:
    """16-bit grey keeps its greys, and a picture stands as its EXIF block says."""
    grey = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    Image.fromarray(grey).save(tmp_path / "deep.png")
    image = np.asarray(open_picture(tmp_path / "deep.png"))
    assert np.array_equal(image[..., 0], np.rint(grey / 257).astype(np.uint8))
    turned = Image.new("RGB", (8, 4))
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert open_picture(tmp_path / "turned.jpg").size == (4, 8)


def test_sampling_visits_every_picture_once_an_epoch() -> None:
    batches = [sample_indices(10, 4, step, seed=1) for step in range(5)]
    flat = [i for batch in batches for i in batch]
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:]
    assert batches[3] == sample_indices(10, 4, 3, seed=1)
    assert batches[3] != sample_indices(10, 4, 3, seed=2)


def test_spread_subset() -> None:
    pairs = _pairs("kvasir", [str(n) for n in range(10)])
    assert [p.image.name for p in spread_subset(pairs, 3)] == ["0", "3", "6"]
    assert spread_subset(pairs, 20) == pairs


def test_augmentation_moves_picture_and_mask_together() -> None:
    masks = torch.zeros(6, 1, 40, 40, dtype=torch.uint8)
    masks[:, :, 8:20, 10:30] = 1
    images = (masks * 255).expand(-1, 3, -1, -1)
    still = Augmentation(brightness=0, contrast=0, saturation=0)
    out, moved = augment(images, masks, 64, torch.Generator().manual_seed(0), still)
    assert out.shape == (6, 3, 64, 64)
    assert moved.shape == (6, 1, 64, 64)
    assert set(moved.unique().tolist()) == {0.0, 1.0}
    bright = normalise(torch.full((1, 3, 1, 1), 127.5))
    assert torch.equal(out[:, :1] > bright[0, 0], moved > 0)
    assert len({m.sum().item() for m in moved}) > 1

    again = augment(images, masks, 64, torch.Generator().manual_seed(0), still)
    assert torch.equal(again[0], out)
    none = Augmentation(False, 0, 1, 0, 0, 0, 0)
    same, mask = augment(images, masks, 40, torch.Generator().manual_seed(0), none)
    assert torch.allclose(same, normalise(images), atol=1e-4)
    assert torch.equal(mask, masks.float())
