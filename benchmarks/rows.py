"""What was measured, figure by figure; `readings.py` reads each off its file in `results/`."""

from collections.abc import Callable
from typing import NamedTuple

from readings import (
    Result,
    beside_sac,
    environments,
    evaluated,
    interval_shares,
    large_checkpoint,
    launches_of_algorithms,
    long_run,
    number,
    of_seeds,
    ratio,
    returns,
    seams,
    shares_of_a_run,
    speed_of_csac,
    stall,
    trackers,
    transposed,
    wins,
    wins_by_time,
)


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
LONG = "long_run_HalfCheetah-v5.json"
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
    Row("its iterations/s", speed_of_csac, "0.6 times", "learning_tasks.json"),
    Row(
        "`flashsac` with bfloat16, HalfCheetah-v4, after 100,000: 100 episodes",
        evaluated,
        "9,345 to 10,285",
        "eval_flashsac_HalfCheetah-v4.json",
    ),
    Row("`xqc` likewise", evaluated, "5,497 to 11,697", "eval_xqc_HalfCheetah-v4.json"),
    Row(
        "`sac`, HalfCheetah-v5, 1,000,000 iterations, one seed",
        long_run("sac"),
        "8,828 to 13,814, published on v4",
        LONG,
    ),
    Row("`csac` likewise", long_run("csac"), "SAC's", LONG),
    Row(
        "moves of what is logged across these resumptions, beside usual ones", seams, "1 time", LONG
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
        "`ant`: 16 seeds in one program: iterations/s of all beside one's",
        of_seeds,
        "1 time",
        "scaling_ant.json",
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
        number("{:.1f} s", "median_seconds", "cold"),
        "30 s",
        "startup_ant_kept.json",
    ),
    Row(
        "the same with a warm compilation cache, the epoch traced again",
        number("{:.1f} s", "median_seconds", "traced"),
        "8 s",
        "startup_ant_kept.json",
    ),
    Row(
        "the same with the epoch kept",
        number("{:.1f} s", "median_seconds", "warm"),
        "3 s",
        "startup_ant_kept.json",
    ),
    Row(
        "the same for Go1JoystickFlatTerrain",
        number("{:.1f} s", "median_seconds", "warm"),
        "8 s",
        "startup_go1.json",
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
        "iterations/s with `--history 3` beside none, no physics",
        ratio("parts", "epoch", "beside_1", "3"),
        "",
        "history_speed.json",
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
    Row(
        "`ant`, 10,000,000 rows: a checkpoint, one after a twentieth has changed, training waits, "
        "loading",
        large_checkpoint,
        "",
        "checkpoint_10m.json",
    ),
    Row(
        "`ant`, logged every 1,000 iterations: what a tracker uses of a core",
        trackers("core"),
        "1%",
        "tracker_cost_ant.json",
    ),
    Row(
        "`ant`, films drawn one after another: training stands still, for that and all else",
        trackers("host"),
        "1%",
        "tracker_cost_films.json",
    ),
    Row(
        "`ant`, all at its defaults, one environment: time in evaluations, checkpoints, logging",
        shares_of_a_run,
        "5% together",
        "bench_ant_1.json",
    ),
    *(
        Row(f"the same with {n:,}", shares_of_a_run, "5% together", f"bench_ant_{n}.json")
        for n in (16, 128, 1_024)
    ),
    Row(
        "`inverted_pendulum`, 200,000 iterations at default intervals, one environment: time in "
        "evaluations, elsewhere on the host",
        interval_shares(1),
        "5% together",
        "interval_cost.json",
    ),
    *(
        Row(f"the same with {n:,}", interval_shares(n), "5% together", "interval_cost.json")
        for n in (16, 128, 1_024)
    ),
    Row("environments of others", environments, "", "gymnasium_table.json"),
]


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
]
