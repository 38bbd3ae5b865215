"""What the vendor tool reports of the implemented design."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from fpga_gen.boards import Resources

SITE_TITLES = {
    "luts": "LUT", "flip_flops": "FF", "dsps": "DSP48", "bram36": "BRAM36", "uram": "URAM",
}  # fmt: skip


@dataclass(frozen=True)
class SlackFacts:
    """Worst slacks in ns, negative if a constraint is missed; setup_total_ns: sum over all
    endpoints that miss it, failing_endpoints: their number."""

    setup_slack_ns: float
    setup_total_ns: float
    failing_endpoints: int
    hold_slack_ns: float

    @property
    def met(self) -> bool:
        return self.setup_slack_ns >= 0 and self.hold_slack_ns >= 0


@dataclass(frozen=True)
class Implementation:
    """After place-and-route, processing system and buses included.

    clock_mhz: as the processing system makes it; used, available: primitives; watts are the
    tool's estimate without switching activity, the processing system included.
    """

    tool: str
    clock_mhz: float
    used: Resources
    available: Resources
    timing: SlackFacts
    total_w: float
    dynamic_w: float
    static_w: float
    kind: str = "implemented"


def implementation_rows(facts: Implementation) -> list[tuple[str, str, str, str]]:
    """(primitive, used, available, share) of the implemented design."""
    used, available = asdict(facts.used), asdict(facts.available)
    return [
        (title, f"{used[k]:,}", f"{available[k]:,}", f"{100 * used[k] / available[k]:.0f} %")
        for k, title in SITE_TITLES.items()
        if available[k]
    ]


def implementation_summary(facts: Implementation) -> str:
    """Clock, slack and power as one paragraph."""
    timing = facts.timing
    verdict = "met" if timing.met else "NOT MET"
    return (
        f"{facts.tool}, {facts.clock_mhz:g} MHz: timing {verdict}, setup slack "
        f"{timing.setup_slack_ns:.3f} ns, hold slack {timing.hold_slack_ns:.3f} ns. Power by the "
        f"tool's estimate {facts.total_w:.2f} W ({facts.dynamic_w:.2f} W dynamic, processing "
        "system included). Not run on hardware."
    )
