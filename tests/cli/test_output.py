"""Tables, sizes, counts and values, as they are printed."""

import pytest

from mjx_sac.cli import output
from mjx_sac.config import show


def test_a_table_aligns_numbers_to_the_right():
    rows = [("env", "sizes", "missing"), ("ant", "27", ""), ("cartpole", "-", "Box2D")]
    assert output.table(rows).splitlines() == [
        "env       sizes  missing",
        "ant          27",
        "cartpole      -  Box2D",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (output.number(1234.56), "1,235"),
        (output.number(-0.123456), "-0.1235"),
        (output.number(123456.7), "123,457"),
        (output.size(1_250_000), "1.2 MB"),
        (output.size(12.3e9), "12.3 GB"),
        (output.plural(1, "run"), "1 run"),
        (output.plural(2000, "run"), "2,000 runs"),
        (show((256, 64)), "256,64"),
        (show(None), "auto"),
        (show(0.5), "0.5"),
    ],
)
def test_numbers_sizes_counts_and_values(text, expected):
    assert text == expected
