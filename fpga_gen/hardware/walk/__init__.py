"""The walk over slots and pixel groups: addresses and lane masks."""
