"""layout.json as a simulation needs it: the regions and the preparation of pictures, checked."""

from __future__ import annotations

from dataclasses import dataclass

from fpga_gen.images import NORMALISATIONS, Preprocess
from fpga_gen.quant.ir import QTensor, QuantGraph
from fpga_gen_host.layout_file import LayoutFile
from fpga_gen_host.regions import BEAT_BYTES, InputLayout, MapLayout, OutputLayout

MAX_WORDS = 1 << 26  # of a map in the feature-map memory
MAX_REGION = 1 << 30  # bytes


@dataclass(frozen=True)
class HostLayout:
    """Input and output region of a program, how a picture becomes the model's input, and the cycles
    of a frame by the model."""

    input: InputLayout
    output: OutputLayout
    preprocess: Preprocess
    cycles: int


def read_layout(data: dict, network: QuantGraph) -> HostLayout:
    """HostLayout of the content of layout.json.

    Raises:
        KeyError, ValueError: a field is missing or wrong, or the layout is not of this network.
    """
    file = LayoutFile.from_json(data)
    layout = HostLayout(file.input, file.output, read_preprocess(data), file.cycles)
    _check_input(layout.input, network.tensors[network.input])
    _check_output(layout.output, network)
    return layout


def read_preprocess(data: dict) -> Preprocess:
    """Preparation of pictures in the content of layout.json; KeyError or ValueError."""
    entry = data["preprocess"]
    if not isinstance(entry, dict) or entry.get("normalise") not in NORMALISATIONS:
        raise ValueError("preprocess is unknown")
    preprocess = Preprocess.from_dict(entry)
    if preprocess.to_dict() != entry:
        raise ValueError("preprocess contradicts itself")
    return preprocess


def _need(holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"layout.json: {rule}")


def _check_map(item: MapLayout, tensor: QTensor) -> None:
    """A map of the network, all its bytes within its run of words."""
    name = f"map '{item.tensor}'"
    shape = (item.channels, item.height, item.width)
    _need(shape == (tensor.channels, tensor.height, tensor.width), f"{name} has another shape")
    _need(item.tensor == tensor.name, f"{name} should be '{tensor.name}'")
    _need(item.word_channels in (4, 8, 16), f"{name} has {item.word_channels} channels a word")
    _need(0 <= item.low <= item.words <= MAX_WORDS, f"{name} is too long")
    _need(item.bits == tensor.format.bits, f"{name} has {item.bits} bits")
    _need(0 <= item.byte_offset < item.word_channels, f"{name} begins outside of its first word")
    size = item.height * item.width
    _need(item.plane >= size or item.planes == 1, f"planes of {name} overlap")
    end = (item.planes - 1) * item.plane + size
    _need(end <= (item.low or item.words), f"planes of {name} are longer than the map")
    _need(item.low + end <= item.words, f"planes of {name} are longer than the map")
    most = item.planes * item.word_channels - item.byte_offset
    _need(
        len(set(item.positions)) == len(item.positions) == item.channels
        and 0 <= min(item.positions)
        and max(item.positions) < most,
        f"channels of {name} are in wrong places",
    )


def _check_input(layout: InputLayout, tensor: QTensor) -> None:
    _check_map(layout.map, tensor)
    _need(layout.ports in (1, 2, 4), f"{layout.ports} ports")
    _need(layout.load_words * layout.map.word_channels == layout.ports * BEAT_BYTES, "load_words")
    _need(layout.map.words <= layout.part * layout.load_words <= MAX_WORDS, "part")


def _check_output(layout: OutputLayout, network: QuantGraph) -> None:
    names = tuple(item.tensor for item in layout.maps)
    _need(names == network.outputs, "its outputs are not those of the network")
    _need(len(layout.offsets) == len(names), "offsets and outputs differ in number")
    _need(0 < layout.bytes <= MAX_REGION, f"the output region has {layout.bytes} bytes")
    for item, offset in zip(layout.maps, layout.offsets, strict=True):
        _check_map(item, network.tensors[item.tensor])
        end = offset + item.words * item.word_channels
        _need(offset >= 0 and end <= layout.bytes, f"map '{item.tensor}' is outside of its region")
