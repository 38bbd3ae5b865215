"""Quantisation: number formats, quantised IR, calibration, integer interpreter."""
