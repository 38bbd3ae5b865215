"""The parameters of one output channel, as they lie in the weight stream and its memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpga_gen.contract.fields import Record, bits, signed
from fpga_gen.contract.numerics import BIAS_BITS, MULT_BITS, SHIFT_BITS


@dataclass(frozen=True)
class ParameterRecord(Record):
    """Requantisation of one output channel, see `numerics.requantise`."""

    bias: int = signed(BIAS_BITS, "added to the sum")
    mult: int = bits(MULT_BITS, "multiplier")
    shift: int = bits(SHIFT_BITS, "places to the right, rounding")


PARAMETER = ParameterRecord.layout()
PARAM_BYTES = -(-PARAMETER.bits // 8)
PARAM_BITS = 8 * PARAM_BYTES  # of a record: whole bytes

assert PARAMETER.words == 1, "a record is packed as one 64-bit integer"


def pack_records(values: dict[str, np.ndarray]) -> np.ndarray:
    """uint8 (..., PARAM_BYTES) of the fields by name, integers of one shape.

    Raises ValueError, naming the field, if a value does not fit it.
    """
    total = np.zeros((), np.uint64)
    for field in PARAMETER:
        value = np.asarray(values[field.name], np.int64)
        limits = field.values
        if value.size and (value.min() < limits[0] or value.max() > limits[-1]):
            raise ValueError(f"parameter {field.name} does not fit {field.bits} bits")
        masked = (value & ((1 << field.bits) - 1)).astype(np.uint64)
        total = total | masked << np.uint64(field.lsb)
    return np.ascontiguousarray(total.astype("<u8")[..., None]).view(np.uint8)[..., :PARAM_BYTES]


def unpack_records(raw: np.ndarray) -> dict[str, np.ndarray]:
    """Inverse of `pack_records`: int64 arrays by name of uint8 (..., PARAM_BYTES)."""
    padded = np.zeros((*raw.shape[:-1], 8), np.uint8)
    padded[..., :PARAM_BYTES] = raw
    total = padded.view("<u8")[..., 0]
    out = {}
    for field in PARAMETER:
        part = total >> np.uint64(field.lsb) & np.uint64((1 << field.bits) - 1)
        value = part.astype(np.int64)
        if field.signed:
            value = np.where(value >> (field.bits - 1), value - (1 << field.bits), value)
        out[field.name] = value
    return out
