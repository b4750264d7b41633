"""Launches and exchanges, counted by hand in a small program's text."""

from mjx_sac.training.host import hlo

LAUNCHES = """\
HloModule jit_f

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = (s32[], /*index=1*/f32[4]{0}) parameter(0)
  %fusion.1 = (f32[4]{0}, f32[4]{0}) fusion(%p), kind=kLoop, calls=%fused
  %gte = s32[] get-tuple-element(%p), index=0
  %add = s32[] add(%gte, %gte)
  ROOT %t = (s32[], f32[4]{0}) tuple(%add, %fusion.1)
}

%yes (q: f32[4]) -> f32[4] {
  %q = f32[4]{0} parameter(0)
  %one = f32[4]{0} negate(%q)
  ROOT %two = f32[4]{0} negate(%one)
}

%no (q.1: f32[4]) -> f32[4] {
  ROOT %q.1 = f32[4]{0} parameter(0)
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %w = (s32[], f32[4]{0}) while(%a), body=%body, TRIPS
  %cond = f32[4]{0} conditional(%w, %a, %a), branch_computations={%yes, %no}
  ROOT %copy = f32[4]{0} copy(%cond)
}
"""
TRIPS = 'metadata={op_name="jit(f)/while"}, config={"known_trip_count":{"n":"10"}}'

EXCHANGES = """\
HloModule jit_f

%updates (u: f32[8]) -> f32[8] {
  %u = f32[8]{0} parameter(0)
  %sum = (f32[8]{0}, bf16[2]{0}) all-reduce-start(%u, %v), to_apply=%plus
  ROOT %done = (f32[8]{0}, bf16[2]{0}) all-reduce-done(%sum)
}

%steps (s: f32[8]) -> f32[8] {
  %s = f32[8]{0} parameter(0)
  %gather = ((f32[2]{0}, s32[2]{0}), (f32[8]{0}, s32[8]{0})) all-gather-start(%s), dimensions={0}
  %scatter = f32[2]{0} reduce-scatter(%s), replica_groups=[1,4]<=[4], to_apply=%plus
  ROOT %inner = f32[8]{0} while(%s), body=%updates, config={"known_trip_count":{"n":"3"}}
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %metrics = f32[] all-reduce(%a), to_apply=%plus
  ROOT %outer = f32[8]{0} while(%a), body=%steps, config={"known_trip_count":{"n":"5"}}
}
"""


def test_launches_by_hand():
    # The loop: a fusion and an addition, ten times. The longer branch: two. A copy.
    counted = hlo.count_launches(LAUNCHES.replace("TRIPS", TRIPS))
    assert counted.launches == 10 * 2 + 2 + 1
    assert counted.loops == (hlo.Loop("jit(f)/while", 10, 2),)


def test_loop_of_unknown_length_counts_once():
    counted = hlo.count_launches(LAUNCHES.replace("TRIPS", ""))
    assert counted.launches == 2 + 2 + 1
    assert counted.loops == (hlo.Loop("", None, 2),)


def test_exchanges_by_hand():
    # Gradients: 8 floats of 4 bytes and 2 of 2. A gather counts its results, 8 floats and 8
    # integers; a scatter its operand: 2 floats for each of 4 devices.
    assert sorted(hlo.count_exchanges(EXCHANGES)) == [
        ("all-gather", 8 * 4 + 8 * 4, 1),
        ("all-reduce", 4, 0),
        ("all-reduce", 8 * 4 + 2 * 2, 2),
        ("reduce-scatter", 2 * 4 * 4, 1),
    ]


def test_exchanges_in_a_line_are_per_step():
    # A turn of the loop over gradient steps is two of them.
    line = hlo.describe_exchanges(hlo.count_exchanges(EXCHANGES))
    assert "2 exchanges of 96 bytes in all per vector step" in line
    assert "0.5 exchanges of 18 bytes in all per gradient step" in line
    assert "no exchange" in hlo.describe_exchanges([hlo.Exchange("all-reduce", 4, 0)])
