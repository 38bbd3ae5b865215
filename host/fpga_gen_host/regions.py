"""How stored maps become bytes of the input region and come back from the output region.

A stored map is int8 or int16 (channels, height, width). In the feature-map memory it is a run of
planes; a plane holds `word_channels` channels, one memory word per pixel. Channel c lies at byte
`byte_offset + positions[c]` counted through the planes; a 16-bit map is a set of high-byte planes
and, `low` words further, a set of low-byte planes with value = 256 * high + low + 128.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

BEAT_BYTES = 16  # one AXI beat


@dataclass(frozen=True)
class MapLayout:
    """Planes of one map, in words from the first word of the map.

    plane: words from one plane to the next; low: words from the high planes to the low planes
    (0: the map has 8 bits); words: length of the whole run.
    """

    tensor: str
    channels: int
    height: int
    width: int
    word_channels: int
    plane: int
    low: int
    words: int
    positions: tuple[int, ...]
    byte_offset: int = 0

    @property
    def bits(self) -> int:
        return 16 if self.low else 8

    @property
    def planes(self) -> int:
        """Planes of one byte of the map."""
        return -(-(self.byte_offset + self.channels) // self.word_channels)


@dataclass(frozen=True)
class InputLayout:
    """Input region: the map's run, cut into a part for every port. Stream word i carries beat i of
    every part; there are `part` stream words of `load_words` memory words each.

    packed: the channels use three quarters of a word at most, and the last quarter of three words
    carries every fourth word of the part (see `carry_fourth`).
    """

    map: MapLayout
    part: int
    load_words: int
    ports: int
    packed: bool = False

    @property
    def stream_words(self) -> int:
        return self.part - self.part // 4 if self.packed else self.part

    @property
    def bytes(self) -> int:
        return self.stream_words * self.ports * BEAT_BYTES


@dataclass(frozen=True)
class OutputLayout:
    """Output region: map i starts at byte offsets[i]; `bytes` in all. Behind the results there is
    room for maps that leave the chip for a while."""

    maps: tuple[MapLayout, ...]
    offsets: tuple[int, ...]
    bytes: int

    @property
    def results(self) -> int:
        """Bytes up to the end of the last result."""
        ends = zip(self.maps, self.offsets, strict=True)
        return max(offset + item.words * item.word_channels for item, offset in ends)


def _split_bytes(layout: MapLayout, stored: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(first word, int8 map) of each byte of a stored map."""
    if not layout.low:
        return [(0, stored.astype(np.int8))]
    value = stored.astype(np.int32)
    return [(0, (value >> 8).astype(np.int8)), (layout.low, ((value & 255) - 128).astype(np.int8))]


def _plane_views(layout: MapLayout, run: np.ndarray, first: int) -> np.ndarray:
    """(planes, height, width, word_channels) copy of the planes that start at word `first`."""
    size = layout.height * layout.width
    starts = first + np.arange(layout.planes) * layout.plane
    words = run[starts[:, None] + np.arange(size)]
    return words.reshape(layout.planes, layout.height, layout.width, layout.word_channels)


def map_to_words(layout: MapLayout, stored: np.ndarray) -> np.ndarray:
    """int8 (words, word_channels) run of a stored map; bytes of no channel are 0."""
    shape = (layout.channels, layout.height, layout.width)
    if stored.shape != shape:
        raise ValueError(f"tensor '{layout.tensor}' has shape {shape}, got {stored.shape}")
    run = np.zeros((layout.words, layout.word_channels), np.int8)
    byte = layout.byte_offset + np.asarray(layout.positions)
    size = layout.height * layout.width
    for first, values in _split_bytes(layout, stored):
        planes = np.zeros((layout.planes * layout.word_channels, size), np.int8)
        planes[byte] = values.reshape(layout.channels, size)
        for p in range(layout.planes):
            start = first + p * layout.plane
            part = planes[p * layout.word_channels : (p + 1) * layout.word_channels]
            run[start : start + size] = part.T
    return run


def words_to_map(layout: MapLayout, run: np.ndarray) -> np.ndarray:
    """Stored map, int8 or int16 (channels, height, width), of an int8 run of words."""
    byte = layout.byte_offset + np.asarray(layout.positions)
    parts = []
    for first in (0, layout.low) if layout.low else (0,):
        planes = _plane_views(layout, run, first).transpose(0, 3, 1, 2)
        flat = planes.reshape(-1, layout.height, layout.width)
        parts.append(flat[byte])
    if not layout.low:
        return np.ascontiguousarray(parts[0])
    high, low = (p.astype(np.int32) for p in parts)
    return (256 * high + low + 128).astype(np.int16)


def stripe(words: np.ndarray, ports: int) -> bytes:
    """Region bytes of stream words, uint8 (N, ports * 16): port k reads beat k of every word.

    Part k, the N beats of port k, starts at byte k * N * 16.
    """
    beats = words.reshape(len(words), ports, BEAT_BYTES)
    return np.ascontiguousarray(beats.transpose(1, 0, 2)).tobytes()


def unstripe(region: bytes, ports: int) -> np.ndarray:
    """Inverse of `stripe`."""
    beats = np.frombuffer(region, np.uint8).reshape(ports, -1, BEAT_BYTES)
    return np.ascontiguousarray(beats.transpose(1, 0, 2)).reshape(-1, ports * BEAT_BYTES)


def carry_fourth(words: np.ndarray) -> np.ndarray:
    """(parts, N - N // 4, bytes) of words (parts, N, bytes) whose last quarter is free: every
    fourth word travels in the last quarters of the three before it."""
    parts, count, size = words.shape
    used, groups = size * 3 // 4, count // 4
    sent = np.empty((parts, count - groups, size), words.dtype)
    words = np.ascontiguousarray(words)
    # A word is moved as one item, and so is a quarter of one.
    source, target = (v.view(f"V{size}")[..., 0] for v in (words, sent))
    first_three = target[:, : 3 * groups].reshape(parts, groups, 3)
    first_three[:] = source[:, : 4 * groups].reshape(parts, groups, 4)[:, :, :3]
    target[:, 3 * groups :] = source[:, 4 * groups :]
    source, target = (v.view(f"V{size - used}") for v in (words, sent))
    target[:, : 3 * groups, 3] = source[:, 3::4, :3].reshape(parts, 3 * groups)
    return sent


def restore_fourth(sent: np.ndarray, count: int) -> np.ndarray:
    """Words (parts, count, bytes) of `carry_fourth`'s; what it carried stays in last quarters."""
    parts, _, size = sent.shape
    used, whole = size * 3 // 4, count // 4 * 3
    words = np.zeros((parts, count, size), sent.dtype)
    words[:, np.arange(count) % 4 != 3] = sent
    words[:, 3::4, :used] = sent[:, :whole, used:].reshape(parts, count // 4, used)
    return words


def pack_input(layout: InputLayout, stored: np.ndarray) -> bytes:
    """Bytes of the input region for a stored input map (channels, height, width)."""
    run = np.zeros((layout.load_words * layout.part, layout.map.word_channels), np.int8)
    run[: layout.map.words] = map_to_words(layout.map, stored)
    beat = layout.load_words // layout.ports
    words = run.reshape(layout.ports, layout.part, beat, -1).transpose(0, 2, 1, 3)
    words = words.reshape(layout.load_words, layout.part, -1)  # a row for each word of a beat
    words = (carry_fourth(words) if layout.packed else words).transpose(1, 0, 2)
    return stripe(np.ascontiguousarray(words).view(np.uint8), layout.ports)


def unpack_output(layout: OutputLayout, region: bytes) -> dict[str, np.ndarray]:
    """Stored maps, by tensor name, of the output region's bytes."""
    if len(region) < layout.results:
        raise ValueError(f"output region has {len(region)} bytes, {layout.results} are needed")
    out = {}
    for item, offset in zip(layout.maps, layout.offsets, strict=True):
        count = item.words * item.word_channels
        run = np.frombuffer(region, np.int8, count, offset).reshape(-1, item.word_channels)
        out[item.tensor] = words_to_map(item, run)
    return out


def to_json(layout: InputLayout | OutputLayout) -> dict:
    """JSON-able form of a layout."""
    return asdict(layout)


# --- identity -------------------------------------------------------------------------------


def _example(word: int, ports: int, bits: int) -> tuple[InputLayout, OutputLayout]:
    """Small layouts with every property: channels in disorder, planes apart, packed (8 bits)."""
    channels, offset = (word // 2 + 1, 0) if bits == 8 else (word + 1, 2)
    positions = tuple((2 * c + 1) % channels for c in range(channels))
    plane, planes, load_words = 8, -(-(offset + channels) // word), ports * BEAT_BYTES // word
    words = planes * plane * bits // 8
    low = words // 2 if bits == 16 else 0
    item = MapLayout("a", channels, 2, 3, word, plane, low, words, positions, offset)
    host_input = InputLayout(item, -(-words // load_words), load_words, ports, packed=bits == 8)
    size = words * word
    return host_input, OutputLayout((item, replace(item, tensor="b")), (0, size), 2 * size)


def describe() -> dict:
    """How maps lie in the input and output regions, JSON-able: regions that this module makes and
    maps that it reads, for a few layouts."""
    out = []
    for word, ports, bits in ((16, 1, 8), (8, 2, 16), (4, 4, 16)):
        host_input, host_output = _example(word, ports, bits)
        item = host_input.map
        values = np.arange(item.channels * item.height * item.width) * (7 if bits == 8 else 977)
        stored = values.reshape(item.channels, item.height, item.width) - (1 << bits - 1)
        region = (np.arange(host_output.bytes) * 41 % 256).astype(np.uint8).tobytes()
        maps = unpack_output(host_output, region)
        out.append(
            {
                "layouts": [to_json(host_input), to_json(host_output)],
                "input": pack_input(host_input, stored).hex(),
                "output": {name: values.tolist() for name, values in maps.items()},
            }
        )
    return {"beat": BEAT_BYTES, "examples": out}
