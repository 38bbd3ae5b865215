"""Tests; a package of its own, since pynq installs one called `tests` too."""
