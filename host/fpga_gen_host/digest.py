"""Digests of what two sides of the accelerator must agree on."""

from __future__ import annotations

import hashlib
import json


def digest_of(description: object) -> str:
    """Hex SHA-256 of a JSON-able description. Spelling: sorted keys, no blanks."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
