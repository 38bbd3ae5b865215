"""What the report says of the quantiser, in words and with units."""

from __future__ import annotations

from fpga_gen.report.markdown import quantisation_rows


def test_facts_have_titles_and_units():
    facts = {
        "scheme": "mixed", "compensated": True, "sp2_mac_share": 0.41734,
        "predicted_activation_db": 40.0761, "wide_tensors": ["a", "b"], "damage_db": {"a": 1.0},
    }  # fmt: skip
    assert quantisation_rows(facts) == [
        ("scheme", "mixed"),
        ("rounding errors of weights compensated in later ones", "yes"),
        ("share of MACs in SP2 columns", "41.7 %"),
        ("SQNR of the result from rounding maps alone, expected, dB", "40.08"),
        ("maps of 16 bits", "a, b"),
    ]


def test_what_a_quantised_model_leaves_unknown_is_left_out():
    facts = {"wide_mac_share": None, "predicted_activation_db": None, "wide_tensors": []}
    assert quantisation_rows(facts) == [("maps of 16 bits", "none")]
