"""What was measured, figure by figure, and how each is read off its file in `results/`."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

Result = dict[str, Any]


class Row(NamedTuple):
    """A figure.

    Attributes:
      what: was measured.
      figure: reads it off the result.
      aim: what we want it to be.
      file: the result.
      short: its name in README; empty where it is not there.
    """

    what: str
    figure: Callable[[Result], str]
    aim: str
    file: str
    short: str = ""


def number(form: str, *keys: str) -> Callable[[Result], str]:
    """Return a reader of the number that lies under `keys`."""
    return lambda result: form.format(functools.reduce(dict.__getitem__, keys, result))


def ratio(*keys: str) -> Callable[[Result], str]:
    """Return a reader of a ratio with its spread."""

    def read(result: Result) -> str:
        found = functools.reduce(dict.__getitem__, keys, result)
        return "{median:.2f} times ({min:.2f} to {max:.2f})".format(**found)

    return read


def returns(peer: str, at: int | None = None) -> Callable[[Result], str]:
    """Return a reader of the mean return beside a peer's: at a count, or over all there are."""

    def read(result: Result) -> str:
        rows = [row for row in result["table"] if at in (None, row["iterations"])]
        names = ("mjx_sac", f"{peer.lower()}_sac")
        ours, theirs = (sum(row[name]["mean"] for row in rows) / len(rows) for name in names)
        return f"{ours:,.0f} ({peer}: {theirs:,.0f})"

    return read


def stall(result: Result) -> str:
    """Return the share of an epoch for which a checkpoint holds up training."""
    rates = dict(map(tuple, result["scalars"]["time/fps"]))
    interval = min(b - a for a, b in itertools.pairwise(rates))
    stalls = result["scalars"]["checkpoint/stall_seconds"]
    shares = [seconds * rates[step] / interval for step, seconds in stalls]
    return f"{min(shares):.2%} to {max(shares):.2%} of the time"


def environments(result: Result) -> str:
    """Return how many of others' environments train."""
    answers = [answer for group in result["table"].values() for answer in group.values()]
    train = answers.count("trains")
    broken = sum("AssertionError" in answer for answer in answers)  # their own
    refused = len(answers) - train - broken
    return f"{train} of {len(answers)} train, {refused} are refused, {broken} fails by itself"


def wins(result: Result) -> str:
    """Return how much more `csac` reaches than `sac`, a mean over tasks, with its interval."""
    last = result["scores"]["csac"][str(100_000)]
    low, high = last["interval"]
    return f"{last['score']:.2f} times ({low:.2f} to {high:.2f})"


def wins_by_time(result: Result) -> str:
    """Return the same at equal times, over the minutes that there are."""
    scores = {int(k): v["score"] for k, v in result["scores_by_minutes"]["csac"].items() if v}
    late = [score for minutes, score in scores.items() if minutes > 1]
    return f"{min(late):.2f} to {max(late):.2f} times, {scores[1]:.2f} at the first minute"


def speed_of_csac(result: Result) -> str:
    """Return its iterations per second beside SAC's, turn by turn."""
    rates = result["iterations_per_second"]
    ratios = sorted(a / b for a, b in zip(rates["csac"], rates["sac"], strict=True))
    return f"{ratios[len(ratios) // 2]:.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def kept_beside_traced(result: Result) -> str:
    """Return how long a warm start takes with the lowered epoch kept, turn by turn."""
    pairs = zip(result["phases"]["warm"], result["phases"]["traced"], strict=True)
    ratios = sorted(warm["training"] / traced["training"] for warm, traced in pairs)
    return f"{ratios[len(ratios) // 2]:.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def evaluated(result: Result) -> str:
    """Return what `mjx-sac eval --json` says of the return."""
    return "{mean:,.0f} (deviation {std:,.0f})".format(**result["return"])


def transposed(result: Result) -> str:
    """Return the rates of both ways to a wide layer's weight gradient."""
    rates = result["sizes"][-1]["gflops"]
    plain, tiled = (rates[f"{way}, bfloat16"]["median"] for way in ("x.T @ g", "tiled(x) @ g"))
    return f"{tiled:.0f} instead of {plain:.0f} GFLOP/s"


def beside_sac(result: Result) -> str:
    """Return the iterations that every algorithm's gradient steps allow, beside SAC's."""
    ratios = {
        name: found["iterations_beside_sac"]["median"]
        for name, found in result["algorithms"].items()
    }
    found = sorted(ratios.items(), key=lambda pair: -pair[1])
    return ", ".join(f"`{name}` {ratio:.2g}" for name, ratio in found)


BFLOAT16 = {
    "sac": "1.25 times",
    "sac, 512 wide, batch 512": "1.6 times",
    "csac": "",
    "xqc": "",
    "flashsac": "1.6 times",
}
LEARNING = [
    Row(
        "`ant`, 4 seeds (Brax: 3): mean return over 40,000 to 200,000 iterations",
        returns("Brax"),
        "Brax's",
        "learning_ant_packaged.json",
    ),
    Row(
        "the same at 200,000 iterations",
        returns("Brax", 200_000),
        "Brax's",
        "learning_ant_packaged.json",
    ),
    Row(
        "`HalfCheetah-v5`, 3 seeds each, at 150,000 iterations",
        returns("SBX", 150_000),
        "SBX's",
        "learning_HalfCheetah-v5.json",
    ),
    Row(
        "`Hopper-v5`, 3 seeds each, at 100,000 iterations",
        returns("SBX", 100_000),
        "SBX's",
        "learning_Hopper-v5.json",
    ),
]
OURS = [
    Row(
        "`csac` beside `sac`: return at 100,000 iterations, a mean over three tasks",
        wins,
        "2 times",
        "learning_tasks.json",
        "`csac` beside `sac`: return at 100,000, mean of three tasks",
    ),
    Row(
        "the same at every full minute from the second on",
        wins_by_time,
        "more than 1 time",
        "learning_tasks.json",
    ),
    Row(
        "its iterations/s",
        speed_of_csac,
        "0.6 times",
        "learning_tasks.json",
    ),
    Row(
        "`flashsac` with bfloat16, HalfCheetah-v4, after 100,000: 100 episodes",
        evaluated,
        "9,345 to 10,285",
        "eval_flashsac_HalfCheetah-v4.json",
    ),
]


def _beside_stable_baselines(env: str, num_envs: int) -> list[Row]:
    """Return iterations/s on a Gymnasium task beside SAC in PyTorch and SBX's in JAX."""
    environments = f"{num_envs} environment{'s' * (num_envs > 1)}"
    what, file = f"`{env}`, {environments}: iterations/s", f"throughput_{env}_{num_envs}.json"
    sb3, sbx = "beside Stable-Baselines3's SAC", "beside SBX's"
    short = f"`{env}`: iterations/s {sb3}" * ((env, num_envs) == ("HalfCheetah-v5", 1))
    return [
        Row(f"{what} {sb3}", ratio("ratio", "to_sb3"), "", file, short),
        Row(f"the same {sbx}", ratio("ratio", "to_sbx"), "1.6 times", file),
    ]


SPEED = [
    *_beside_stable_baselines("HalfCheetah-v5", 1),
    *_beside_stable_baselines("HalfCheetah-v5", 8),
    *_beside_stable_baselines("Ant-v5", 1),
    *_beside_stable_baselines("Ant-v5", 8),
    Row(
        "the same beside mjx-sac without overlap of host and device",
        ratio("ratio", "to_mjx_sac_serial"),
        "",
        "throughput_Ant-v5_8.json",
    ),
    Row(
        "`ant`, 16 environments: iterations/s beside Brax's SAC",
        ratio("ratios", "epoch_to_brax"),
        "1.3 times",
        "bench_ant_16.json",
    ),
    Row(
        "the same with 128 environments",
        ratio("ratios", "epoch_to_brax"),
        "1.3 times",
        "bench_ant_128.json",
    ),
    Row(
        "CheetahRun, 128 environments, an update of 512 per vector step: beside Brax's SAC",
        ratio("ratios", "brax"),
        "1.3 times",
        "playground_peers.json",
        "CheetahRun, 128 environments: iterations/s beside Brax's SAC",
    ),
    Row(
        "the same beside RL-X's SAC, compiled as a whole",
        ratio("ratios", "rlx"),
        "1.3 times",
        "playground_peers.json",
    ),
    Row(
        "`inverted_pendulum`, small networks: 8 seeds side by side beside one after another",
        ratio("ratio_of_whole"),
        "more than 1",
        "seeds_inverted_pendulum.json",
    ),
    Row(
        "the same without start and compilation",
        ratio("ratio_of_training"),
        "",
        "seeds_inverted_pendulum.json",
    ),
]
COST = [
    Row(
        "`ant`: process start to first gradient step, nothing cached",
        number("{:.0f} s", "median_seconds", "cold"),
        "30 s",
        "startup_ant.json",
    ),
    Row(
        "the same with a warm compilation cache, the epoch traced again",
        number("{:.0f} s", "median_seconds", "warm"),
        "8 s",
        "startup_ant.json",
    ),
    Row(
        "the same with the epoch kept, beside traced again, in turns on a slower machine",
        kept_beside_traced,
        "3 of 5 s",
        "startup_ant_kept.json",
    ),
    *(
        Row(
            f"gradient steps/s with bfloat16 beside float32, {case}",
            ratio("cases", case, "ratio"),
            aim,
            "bfloat16.json",
        )
        for case, aim in BFLOAT16.items()
    ),
    Row(
        "the gradient of a 1024 x 256 kernel in bfloat16, transposed as XLA wants it",
        transposed,
        "",
        "transposed_product.json",
    ),
    Row(
        "gradient steps/s, as a share of what dense products on this machine allow",
        number("{:.0%}", "roofline", "fraction"),
        "75%",
        "bench_ant_16.json",
    ),
    Row(
        "iterations that the gradient steps of other algorithms allow, `sac` = 1",
        beside_sac,
        "`csac` 0.75",
        "algorithm_speed.json",
    ),
    Row(
        "share of an epoch: environments, replay",
        lambda r: ", ".join(f"{r['share_of_an_epoch'][n]:.1%}" for n in ("environment", "replay")),
        "5%, 3%",
        "bench_ant_16.json",
    ),
    Row(
        "drawing from the replay buffer beside flashbax",
        ratio("ratios", "replay_sample_to_flashbax_sample"),
        "",
        "bench_ant_16.json",
    ),
    Row(
        "replay memory for 1,000,000 transitions of `ant` beside Brax's",
        number("{:.2f} times", "ratio"),
        "0.6 times",
        "replay_memory_ant.json",
    ),
    Row(
        "the same for Playground's G1, whose critics see 216 numbers and its actor 103 of them",
        number("{:.2f} times", "ratio"),
        "0.4 times",
        "replay_memory_g1.json",
        "replay memory for G1 beside a table of (s, p, a, r, s', p')",
    ),
    Row(
        "CheetahRun with 4,194,304 rows: most memory of the process, Brax's, RL-X's",
        lambda r: ", ".join(f"{x / 1e9:.1f} GB" for x in r["peak_bytes"].values()),
        "",
        "playground_peers.json",
    ),
    Row(
        "`ant`: training waits for a checkpoint, at the default interval",
        stall,
        "5%",
        "checkpoint_ant.json",
    ),
    Row("environments of others", environments, "", "gymnasium_table.json"),
]


def launches_of_algorithms(result: Result) -> str:
    """Return the launches of a gradient step of every packaged algorithm."""
    found = sorted(result["launches_per_update"].items(), key=lambda pair: pair[1])
    return ", ".join(f"`{name}` {count:g}" for name, count in found)


LAUNCHES = [
    Row("per gradient step", number("{:g}", "launches_per_update"), "50", "gpu_launches_ant.json"),
    Row(
        "the same, on average over actors that wait",
        launches_of_algorithms,
        "`sac` 66, `flashsac` 3 times that",
        "gpu_launches_updates.json",
    ),
    Row(
        "per gradient step and agent, 10 seeds side by side",
        number("{:g}", "launches_per_update"),
        "as for one",
        "gpu_launches_ant_10_seeds.json",
    ),
    Row(
        "per gradient step, networks as Pallas kernels (prototype `benchmarks/pallas_mlp.py`)",
        number("{:g}", "launches_per_update"),
        "50",
        "gpu_launches_pallas.json",
    ),
    Row(
        "per vector step of 128 ants: physics alone",
        number("{:,}", "launches_per_vector_step_of_bare_physics"),
        "",
        "gpu_launches_ant.json",
    ),
    Row(
        "the same with everything about episodes",
        number("{:,}", "launches_per_vector_step_of_physics_and_episodes"),
        "1.05 times physics",
        "gpu_launches_ant.json",
    ),
    Row(
        "the same with policy, replay and statistics",
        number("{:,}", "launches_per_vector_step_beside_updates"),
        "",
        "gpu_launches_ant.json",
    ),
    Row(
        "FlashSAC, per gradient step of 2,048",
        number("{:g}", "launches_per_update"),
        "",
        "gpu_launches_flashsac.json",
    ),
    Row(
        "the same per vector step of 1,024 CheetahRun, two gradient steps and all else included",
        number("{:,}", "launches_per_vector_step"),
        "",
        "gpu_launches_flashsac.json",
    ),
]
