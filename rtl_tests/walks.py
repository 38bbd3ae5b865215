"""Walks: random CONV and POOL instructions, and what isa.py says that they do."""

from __future__ import annotations

import random
from dataclasses import dataclass

from amaranth.lib import data

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.isa import BLOCK, SLOT_ENTRY, TAP, Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import SlotEntry
from rtl_tests.word_memory import header


@dataclass(frozen=True)
class Beat:
    """One pixel group: address, tap offset, index of the group (for the lane masks), flags."""

    address: int
    dy: int
    dx: int
    group: int
    t: int
    flags: dict[str, int]


@dataclass(frozen=True)
class Token:
    groups: int
    new_instruction: int
    new_group: int
    base: int
    byte_offset: int
    channels: int
    pool: int


@dataclass(frozen=True)
class Walk:
    """One instruction; `fields` with linear addresses. lists: (block, tap) of every slot of every
    group that skips others."""

    op: Op
    fields: dict[str, int]
    blocks: list[dict[str, int]]
    taps: list[dict[str, int]]
    lists: tuple[tuple[tuple[int, int], ...], ...] = ()

    def header(self, banks: int) -> data.Const:
        names = ("pixel_step", "row_step", "out_base", "out_plane")
        codes = {name: pack_address(self.fields[name], banks) for name in names}
        return header(self.op, **{**self.fields, **codes})

    def records(self, banks: int) -> tuple[list[int], list[int], list[int]]:
        """Encoded blocks, taps and lists."""
        blocks, taps = (
            [layout.encode({**r, "address": pack_address(r["address"], banks)})[0] for r in table]
            for layout, table in ((BLOCK, self.blocks), (TAP, self.taps))
        )
        entries = [
            SLOT_ENTRY.encode({"block": b, "tap": t, "final": int(n == len(group) - 1)})[0]
            for group in self.lists
            for n, (b, t) in enumerate(group)
        ]
        lists = [
            sum(e << 64 // SlotEntry.PER_WORD * k for k, e in enumerate(entries[at : at + 4]))
            for at in range(0, len(entries), SlotEntry.PER_WORD)
        ]
        return blocks, taps, lists


def random_walk(rng: random.Random, params: EngineParams) -> Walk:
    op = rng.choice([Op.CONV, Op.CONV, Op.POOL])
    mode = 1 if op == Op.POOL else rng.choice(params.modes)
    n_tiles, n_blocks = rng.randint(1, 3), rng.randint(1, 3)
    blocks, taps = [], []
    for _ in range(n_blocks):
        count = rng.randint(1, 3)
        blocks.append({
            "address": rng.randrange(300), "tap_start": len(taps), "tap_count": count,
            "pad": rng.randint(0, 1), "shift": int(op == Op.CONV and rng.random() < 0.4),
        })  # fmt: skip
        for _ in range(count):
            taps.append({
                "address": rng.randrange(-60, 60), "dy": rng.randint(-9, 9),
                "dx": rng.randint(-9, 9),
            })  # fmt: skip
    group_channels = params.in_channels if op == Op.POOL else params.group_channels(mode)
    n_groups = n_blocks if op == Op.POOL else rng.randint(1, 3)
    row_mode = rng.randint(0, 1)
    lists: tuple = ()
    if op == Op.CONV and rng.random() < 0.6:
        every = [
            (n, t)
            for n, b in enumerate(blocks)
            for t in range(b["tap_start"], b["tap_start"] + b["tap_count"])
        ]
        chosen = [rng.sample(every, rng.randint(1, len(every))) for _ in range(n_groups)]
        lists = tuple(tuple(group) for group in chosen)
    tile_groups = rng.choice([2, 3, 9, 13])
    fields = {
        "mode": mode - 1, "row_mode": row_mode, "n_blocks": n_blocks, "n_taps": len(taps),
        "n_tiles": n_tiles, "tile_groups": tile_groups, "long_tiles": rng.randint(1, n_tiles),
        "n_groups": n_groups, "slots": len(taps),
        "channels": (n_groups - 1) * group_channels + rng.randint(1, group_channels),
        "byte_offset": 0 if op == Op.POOL else rng.randrange(params.in_channels),
        "pixel_step": rng.randrange(60), "row_step": rng.randrange(-100, 200),
        "out_base": rng.randrange(1000), "out_plane": rng.randrange(1, 300),
        "groups_per_row": rng.randint(1, 4), "stride_x": rng.choice([1, 2]), "stride_y": 1,
        "lanes": params.pixels * mode,
        "list_words": -(-sum(map(len, lists)) // SlotEntry.PER_WORD),
    }  # fmt: skip
    return Walk(op, fields, blocks, taps, lists)


@dataclass(frozen=True)
class Slot:
    """One weight slot: block and tap added, flags, its tile and the tile's first pixel group."""

    address: int
    dy: int
    dx: int
    flags: dict[str, int]
    tile: Token
    start: int


def slots_of(walk: Walk, params: EngineParams) -> list[Slot]:
    """The weight slots of an instruction: the outer loops of isa.py."""
    f, pool = walk.fields, walk.op == Op.POOL
    slots = []
    per_group = params.in_channels if pool else params.group_channels(f["mode"] + 1)
    for g in range(f["n_groups"]):
        start = 0
        for n in range(f["n_tiles"]):
            byte = f["byte_offset"] + g * per_group
            tile = Token(
                groups=f["tile_groups"] - (n >= f["long_tiles"]),
                new_instruction=int(g == 0 and n == 0),
                new_group=int(n == 0),
                base=f["out_base"] + byte // params.in_channels * f["out_plane"],
                byte_offset=byte % params.in_channels,
                channels=min(per_group, f["channels"] - g * per_group),
                pool=int(pool),
            )
            taps = [
                (block, k)
                for block in ([walk.blocks[g]] if pool else walk.blocks)
                for k in range(block["tap_start"], block["tap_start"] + block["tap_count"])
            ]
            if walk.lists:
                taps = [(walk.blocks[b], k) for b, k in walk.lists[g]]
            for index, (block, k) in enumerate(taps):
                tap, last = walk.taps[k], index == len(taps) - 1
                group_end = last and n == f["n_tiles"] - 1
                flags = {
                    "pad": block["pad"],
                    "first": index == 0,
                    "shift": index > 0 and block["shift"] > taps[index - 1][0]["shift"],
                    "last": last,
                    "group_end": group_end,
                    "end": group_end and g == f["n_groups"] - 1,
                }
                flags = {name: int(v) for name, v in flags.items()}
                address = block["address"] + tap["address"]
                slots.append(Slot(address, tap["dy"], tap["dx"], flags, tile, start))
            start += tile.groups
    return slots


def beats_of(walk: Walk, slot: Slot) -> list[Beat]:
    """The pixel groups of a slot: the inner loop of isa.py."""
    f, pool = walk.fields, walk.op == Op.POOL
    row = (f["groups_per_row"] - 1) * f["pixel_step"] + f["row_step"]
    beats = []
    for t in range(slot.tile.groups):
        group = slot.start + t
        y, x = divmod(group, f["groups_per_row"]) if f["row_mode"] else (0, group)
        pixel = y * row + x * f["pixel_step"]
        flags = {
            **{name: slot.flags[name] for name in ("first", "shift", "last", "pad")},
            "switch": int(t == 0 and not pool),
            "pool": int(pool),
            "mode": f["mode"],
            "double": int(f["row_mode"] and f["stride_x"] == 2),
        }
        beats.append(Beat(slot.address + pixel, slot.dy, slot.dx, group, t, flags))
    return beats


def nest(walk: Walk, params: EngineParams) -> tuple[list[Beat], list[Token], int]:
    """Beats, tokens and weight slots of an instruction."""
    slots = slots_of(walk, params)
    beats = [beat for slot in slots for beat in beats_of(walk, slot)]
    tokens = [slot.tile for slot in slots if slot.flags["last"]]
    return beats, tokens, 0 if walk.op == Op.POOL else len(slots)
