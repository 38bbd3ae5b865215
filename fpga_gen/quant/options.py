"""Options of the quantiser."""

from __future__ import annotations

from dataclasses import dataclass

from fpga_gen.errors import QuantError


@dataclass(frozen=True)
class QuantOptions:
    """What may be tuned; the defaults suit HarDNet-MSEG.

    compensate: error-compensated rounding (GPTQ) and bias correction after scale search.
    wide_tensors: tensors forced to 16 bit by name (None: chosen by the SNR budget).
    wide_input: whether the network input may become 16 bit (twice the bytes of the image).
    activation_target_db: the budget; 8-bit activations alone may cost the network's outputs this
        signal to noise ratio, else the worst tensors become 16 bit.
    wide_mac_share: upper bound for the share of the work (MACs, elementwise results at what the
        array does meanwhile) that reads 16-bit maps.
    probe_images: images on which the damage of each tensor is measured.
    wide_worth: a 16-bit map must take away at least this times the share of the noise that it
        adds to the MACs.
    samples: upper bound for im2col columns sampled per layer for the second moments.
    samples_per_weight: of them, for each weight of a filter that is compensated jointly.
    block: largest number of weights of a filter that are compensated jointly.
    damping: share of the mean diagonal added to the second moments.
    zero_order: channels are ordered by their zero weights, where that saves work of the engine.
    """

    compensate: bool = True
    wide_tensors: tuple[str, ...] | None = None
    wide_input: bool = True
    activation_target_db: float = 40.0
    wide_mac_share: float = 0.08
    probe_images: int = 2
    wide_worth: float = 8.0
    samples: int = 3072
    samples_per_weight: int = 2
    block: int = 1152
    damping: float = 0.01
    zero_order: bool = True

    def __post_init__(self) -> None:
        def need(ok: bool, rule: str) -> None:
            if not ok:
                raise QuantError(f"quantiser options: {rule}")

        need(0 <= self.wide_mac_share <= 1, "wide_mac_share must lie in 0..1")
        need(self.probe_images >= 1, "probe_images must be at least 1")
        need(self.wide_worth >= 0, "wide_worth must not be negative")
        need(self.samples >= 64, "samples must be at least 64")
        need(self.samples_per_weight >= 1, "samples_per_weight must be at least 1")
        need(self.block >= 32, "block must be at least 32")
        need(self.damping > 0, "damping must be positive")
