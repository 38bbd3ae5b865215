"""The one definition of every number format: storage, requantisation, SP2 codes.

The integer interpreter, the program interpreter, the weight packer and the RTL all take their
arithmetic from here. Source of SP2: Chang et al., "Mix and Match" (arXiv 2012.04240).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

MULT_BITS = 16
SHIFT_BITS = 6
BIAS_BITS = 32
ACC_BITS = 32
TOTAL_BITS = 27  # of a sum that is multiplied: one DSP48E2 multiplies 27 by 18 bits
DROP_SHIFT = 27  # from this shift on, the lowest DROP_BITS of a sum do not matter
DROP_BITS = ACC_BITS - TOTAL_BITS + 1


@dataclass(frozen=True)
class Format:
    """Storage format of a feature map.

    real value = scale * (stored - zero). 'u8' keeps a ReLU map as stored = q - 128, so the
    datapath only ever sees signed bytes. 'i16' is stored as two byte planes, see `split16`.
    """

    name: str
    bits: int
    zero: int
    lo: int
    hi: int

    @property
    def reach(self) -> int:
        """Largest |stored - zero|."""
        return max(abs(self.lo - self.zero), abs(self.hi - self.zero))


I8 = Format("i8", 8, 0, -128, 127)
U8 = Format("u8", 8, -128, -128, 127)
I16 = Format("i16", 16, 0, -32768, 32767)
FORMATS = {f.name: f for f in (I8, U8, I16)}


def split16(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(high, low) byte planes of signed 16-bit values: value = 256 * high + low + 128."""
    value = value.astype(np.int32)
    high = value >> 8
    low = (value & 255) - 128
    return high.astype(np.int8), low.astype(np.int8)


def requantise(acc, bias, mult, shift) -> np.ndarray:
    """(total * mult + 2^(shift-1)) >> shift, total = acc + bias; no rounding term at shift 0.

    total is first made 27 bits wide: from shift 27 on, total >> 6 goes with shift - 6; below,
    total saturates. With a `mult` of full 16 bits (see `multiplier`) the former moves a result by
    less than 1/32 of a step and the latter changes none that fits 16 bits. What becomes of the
    result is the epilogue's business.

    acc: integer array; bias, mult, shift broadcast against it. mult is unsigned 16 bit, shift is
    0..63, acc + bias must fit 32 bits (guaranteed at compile time).
    """
    total = np.asarray(acc, np.int64) + np.asarray(bias, np.int64)
    shift = np.asarray(shift, np.int64)
    far = shift >= DROP_SHIFT
    top = 1 << (TOTAL_BITS - 1)
    total = np.where(far, total >> DROP_BITS, np.clip(total, -top, top - 1))
    shift = np.where(far, shift - DROP_BITS, shift)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    return (total * np.asarray(mult, np.int64) + half) >> shift


def multiplier(scale: float) -> tuple[int, int]:
    """(mult, shift) with mult / 2^shift closest to `scale` > 0; mult uses all 16 bits if it can."""
    if not (scale > 0 and np.isfinite(scale)):
        raise ValueError(f"scale must be positive and finite, got {scale}")
    mantissa, exponent = np.frexp(scale)  # scale = mantissa * 2^exponent, 0.5 <= mantissa < 1
    mult = round(float(mantissa) * 2**MULT_BITS)
    shift = MULT_BITS - int(exponent)
    if mult == 2**MULT_BITS:
        mult, shift = mult // 2, shift - 1
    top = 2**SHIFT_BITS - 1 - 16  # (acc * mult) has 48 bits: a larger shift always gives 0
    if shift > top:
        mult, shift = mult >> (shift - top), top
    if shift < 0:
        raise ValueError(f"scale {scale} is too large for a {MULT_BITS}-bit multiplier")
    return mult, shift


@dataclass(frozen=True)
class FixedCode:
    """Two's complement without the most negative weight: the DSP packing relies on that."""

    bits: int

    @property
    def name(self) -> str:
        return f"int{self.bits}"

    @property
    def max_level(self) -> int:
        return 2 ** (self.bits - 1) - 1

    @property
    def levels(self) -> np.ndarray:
        return self._levels

    @cached_property
    def _levels(self) -> np.ndarray:
        """Sorted integer levels."""
        return np.arange(-self.max_level, self.max_level + 1)

    def decode(self, code: int) -> int:
        """Integer weight of one code word."""
        return code - (code >> (self.bits - 1) << self.bits)

    def encode(self, weights: np.ndarray) -> np.ndarray:
        """Code words of integer weights; ValueError if a weight is not a level."""
        weights = np.asarray(weights, np.int16)
        if weights.size and (weights.min() < -self.max_level or weights.max() > self.max_level):
            raise ValueError(f"weight outside the {self.name} code")
        return weights & ((1 << self.bits) - 1)

    def narrowed(self, bits: int) -> FixedCode:
        """The code with the levels that a scheme of so many bits allows."""
        return FixedCode(min(bits, self.bits))


@dataclass(frozen=True)
class Sp2Code:
    """A weight code that is a sum of two powers of two: w = s1 * t1 + s2 * t2.

    first, second: allowed magnitudes of each term, index = select field (0 means absent).
    common_sign: one sign bit for both terms (the paper's code) instead of one per term.
    Code word, LSB first: select1, [sign1], select2, sign2 (sign1 absent when common_sign).
    """

    name: str
    first: tuple[int, ...]
    second: tuple[int, ...]
    common_sign: bool

    @property
    def select_bits(self) -> tuple[int, int]:
        return ((len(self.first) - 1).bit_length(), (len(self.second) - 1).bit_length())

    @property
    def bits(self) -> int:
        return sum(self.select_bits) + (1 if self.common_sign else 2)

    def decode(self, code: int) -> int:
        """Integer weight of one code word."""
        n1, n2 = self.select_bits
        t1 = self.first[code & ((1 << n1) - 1)]
        code >>= n1
        s1 = 0
        if not self.common_sign:
            s1, code = code & 1, code >> 1
        t2 = self.second[code & ((1 << n2) - 1)]
        s2 = code >> n2
        if self.common_sign:
            s1 = s2
        return (-t1 if s1 else t1) + (-t2 if s2 else t2)

    @cached_property
    def table(self) -> dict[int, int]:
        """level -> canonical code word (the smallest one), the single encoding used anywhere."""
        out: dict[int, int] = {}
        for code in range(1 << self.bits):
            out.setdefault(self.decode(code), code)
        return out

    @property
    def levels(self) -> np.ndarray:
        return self._levels

    @cached_property
    def _levels(self) -> np.ndarray:
        """Sorted integer levels."""
        return np.array(sorted(self.table), dtype=np.int64)

    @property
    def max_level(self) -> int:
        return int(self.levels[-1])

    def encode(self, weights: np.ndarray) -> np.ndarray:
        """Code words of integer weights; ValueError if a weight is not a level."""
        low = int(self.levels[0])
        lut = np.full(self.max_level - low + 1, -1, dtype=np.int64)
        for level, code in self.table.items():
            lut[level - low] = code
        index = np.asarray(weights, np.int64) - low
        if index.size and (index.min() < 0 or index.max() >= lut.size):
            raise ValueError(f"weight outside the {self.name} code")
        codes = lut[index]
        if (codes < 0).any():
            raise ValueError(f"weight is not a level of the {self.name} code")
        return codes

    def narrowed(self, bits: int) -> Sp2Code:
        """Itself: a scheme names the code that it needs."""
        return self


# The weights that a column holds and their words in the stream: `name`, `bits` (at most 8), sorted
# `levels` that are symmetric about 0, `encode`, `decode` and what a scheme of fewer bits leaves.
WeightCode = FixedCode | Sp2Code

TWO_TERM = Sp2Code("two-term-6", (0, 4, 8, 16), (0, 1, 2, 4), common_sign=False)
TWO_TERM_SMALL = Sp2Code("two-term-6s", (0, 2, 4, 8), (0, 1, 2, 4), common_sign=False)
SP2_4 = Sp2Code("sp2-4", (0, 1, 2, 4), (0, 4), common_sign=True)
SP2_CODES = {c.name: c for c in (TWO_TERM, TWO_TERM_SMALL, SP2_4)}

INT8 = FixedCode(8)

DSP, SP2 = 0, 1  # column kinds, see contract/column_kinds.py


@dataclass(frozen=True)
class Scheme:
    """How the filters of a network are coded.

    kinds: of columns that filters may run on, None for all; sp2_code: None leaves the board's;
    fixed_bits: most bits of a fixed-point weight, whatever its column holds.
    """

    name: str
    kinds: tuple[int, ...] | None = None
    sp2_code: str | None = None
    fixed_bits: int = 8

    def allows(self, kind: int) -> bool:
        return self.kinds is None or kind in self.kinds


SCHEMES = {
    s.name: s
    for s in (
        Scheme("mixed"),
        Scheme("fixed8", (DSP,)),
        Scheme("sp2", (SP2,)),
        Scheme("msq4", sp2_code=SP2_4.name, fixed_bits=4),  # the 4-bit mix of the paper
    )
}


def all_codes(code: Sp2Code) -> list[tuple[int, int]]:
    """Every (code word, level) pair, for exhaustive tests."""
    return [(word, code.decode(word)) for word in range(1 << code.bits)]


def describe() -> dict:
    """The formats and codes of stored maps, weights and parameters, JSON-able."""
    sums = np.array([0, 5, -5, 1 << 25, -(1 << 25), (1 << 31) - 1, -(1 << 31)])
    shifts = np.array([[0], [1], [DROP_SHIFT - 1], [DROP_SHIFT], [DROP_SHIFT + DROP_BITS + 1]])
    results = requantise(sums, 1, 0xC001, shifts)
    return {
        "bits": {
            "multiplier": MULT_BITS,
            "shift": SHIFT_BITS,
            "bias": BIAS_BITS,
            "accumulator": ACC_BITS,
            "total": TOTAL_BITS,
        },
        "dropped": [DROP_SHIFT, DROP_BITS],
        "requantised": results.tolist(),
        "formats": [asdict(f) for f in FORMATS.values()],
        "int8": [int(INT8.levels[0]), int(INT8.levels[-1])],
        "sp2_codes": {
            name: {"levels": all_codes(code), "words": sorted(code.table.items())}
            for name, code in SP2_CODES.items()
        },
    }
