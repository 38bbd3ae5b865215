"""The interrupt controller, with the sequence of pynq's own driver."""

from __future__ import annotations

from fpga_gen.board.interrupts import (
    CIE,
    IAR,
    IER,
    IPR,
    ISR,
    IVR,
    MER,
    NONE,
    SIE,
    InterruptController,
)


class Pin:
    high = False

    def __call__(self) -> bool:
        return self.high


def test_sequence_of_pynq():
    """As pynq.interrupt does it: enable, wait, look, disable, acknowledge."""
    pin = Pin()
    controller = InterruptController(pin)
    controller.write(IER, 0)
    controller.write(SIE, 1)
    controller.write(MER, 3)
    assert controller.read(IPR) == 0
    assert controller.read(IVR) == NONE
    pin.high = True
    assert controller.read(IPR) == 1
    assert controller.read(IVR) == 0
    controller.write(CIE, 1)
    assert (controller.read(ISR), controller.read(IPR)) == (1, 0)
    controller.write(IAR, 1)
    assert controller.read(ISR) == 1  # level-sensitive: the pin is still high
    pin.high = False
    controller.write(IAR, 1)
    assert controller.read(ISR) == 0


def test_nothing_before_it_is_enabled():
    pin = Pin()
    pin.high = True
    controller = InterruptController(pin)
    controller.write(SIE, 1)
    assert controller.read(IPR) == 0
    controller.write(MER, 3)
    assert controller.read(IPR) == 1
    controller.write(MER, 0)
    assert controller.read(MER) == 2  # the hardware enable can only be set
    controller.reset()
    assert [controller.read(r) for r in (ISR, IER, MER)] == [0, 0, 0]


def test_unused_offsets():
    controller = InterruptController(Pin())
    controller.write(0x40, 5)
    assert controller.read(0x40) == 0
