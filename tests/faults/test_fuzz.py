"""Environments drawn at random, most of them odd, from training to prediction.

`python benchmarks/fuzz.py` plays many more; its `--only` repeats one.
"""

import json

import pytest
from helpers import fuzz, fuzz_driver

SEED = 6187  # whose first cases are mixed, and few of which train to the end
CASES = [fuzz.draw(SEED, index) for index in range(16)]
FOUND = [("raises_in_factory_SystemExit", fuzz.MADE), ("raises_in_step_SystemExit", fuzz.FIRST)]
"""What longer runs have found: a run that ended with 0, as `sys.exit(0)` says."""


@pytest.mark.slow
def test_an_odd_environment_works_or_ends_in_one_line():
    healthy = next(case for case in CASES if case.kind == "jax" and not case.fault)
    found = [healthy._replace(fault=fault, at=at) for fault, at in FOUND]
    played = list(fuzz_driver.play(CASES + found))
    wrong = [f"{case.dumps()}: {outcome}" for case, outcome in played if outcome.violations]
    assert not wrong, "\n".join(wrong)
    assert {"train", "predict"} <= {[*outcome.codes][-1] for _, outcome in played}


def test_what_is_played_here_is_mixed():
    assert {case.kind for case in CASES} == {"sync", "async", "jax"}
    assert {case.way for case in CASES} == {"registered", "module", "id", "argument"}
    assert 5 <= sum(not case.fault for case in CASES) <= 15


def test_every_fault_and_every_space_is_drawn():
    cases = [fuzz.draw(0, index) for index in range(5000)]
    assert {case.fault for case in cases} == {"", *fuzz.FAULTS}
    for which, unsupported in fuzz.SPACES.items():
        described = [getattr(case, which) for case in cases]
        assert {*unsupported, "box"} <= {each["kind"] for each in described}
        dtypes = {each["dtype"] for each in described if "dtype" in each}
        assert dtypes == {"float32", "float64", "float16", "int8", "uint8", "int64", "bool"}


def test_a_case_can_be_repeated():
    one, other, again = (fuzz.draw(3, index) for index in (7, 8, 7))
    assert one == again != other
    assert fuzz.Case(**json.loads(one.dumps())) == one


RIGHT = [("train", 0), ("eval", 0), ("export", 0), ("predict", 0)]
JUDGED = [
    ("", RIGHT, 0, "", "train said done"),  # and its files are not there
    ("", RIGHT, 1, "", "the process ends with 1 after all was done"),
    ("", RIGHT, None, "", "hangs at exit"),
    ("", [("train", None)], None, "", "hangs in train"),
    ("", [("train", None)], -11, "", "train ends with -11"),
    ("", [("train", 2)], 0, "mjx-sac: no", "train ends with 2, not [0]"),
    ("step_four", [("train", 2)], 0, "mjx-sac: 4 values from step", ""),
    ("step_four", [("train", 2)], 0, "mjx-sac: a line", "the line lacks"),
    ("step_four", [("train", 2)], 0, "", "0 lines of ours"),
    ("step_four", [("train", 3)], 0, "mjx-sac: from step", "train ends with 3, not [2]"),
    ("step_four", [("train", 1)], 0, "Traceback (most recent call last):\nE: x", "a traceback"),
    ("step_four", RIGHT, 0, "", "train ends with 0, not [2]"),
]


@pytest.mark.parametrize(("fault", "notes", "status", "errors", "violation"), JUDGED)
def test_the_judge_sees(tmp_path, fault, notes, status, errors, violation):
    """Hangs, deaths, wrong codes, tracebacks, lines that say nothing, missing files."""
    case = fuzz.Case(0, 0, "sync", "module", {"kind": "box"}, {"kind": "box"}, fault, fuzz.FIRST)
    lines = []
    for command, code in notes:
        lines.append({"begins": command})
        lines += [] if code is None else [{"ends": command, "code": code}]
    (tmp_path / "journal").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "out").write_text('{"run": 1, "returns": [1.0], "length": {"mean": 8.0}}')
    (tmp_path / "err").write_text(errors)
    found = fuzz_driver.judge(case, tmp_path, status, 1.0).violations
    assert any(violation in one for one in found) if violation else not found
