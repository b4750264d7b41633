"""`mjx-sac eval`: how good a trained policy is."""

import contextlib
import json
import sys
from typing import Annotated, Any

from mjx_sac import envs
from mjx_sac.cli import flags
from mjx_sac.cli.output import table
from mjx_sac.envs.reports import SUCCESS
from mjx_sac.runs import resolve, stored_policy
from mjx_sac.runs.stored_policy import StoredPolicy
from mjx_sac.training.host.console import print_line

_EPISODES = "how many, each from another initial state"
_AGENT = "which, from 0; else all"
_SPREAD = "mean {mean:,.1f}  std {std:,.1f}  median {median:,.1f}  from {min:,.1f} to {max:,.1f}"


def evaluate(
    run: flags.RunDirectory,
    episodes: Annotated[int, flags.option(_EPISODES, min=1)] = 100,
    step: flags.Step = None,
    seed_index: Annotated[int | None, flags.option(_AGENT, "--seed_index")] = None,
    env: flags.OtherEnv = None,
    env_option: flags.OtherOptions = None,
    backend: flags.OtherBackend = None,
    domain_randomization: flags.Randomization = None,
    stochastic: Annotated[bool, flags.option("sample the actions", "--stochastic")] = False,
    seed: Annotated[int, flags.option("of initial states and actions", min=0, max=2**32 - 1)] = 0,
    device: flags.Device = "auto",
    edited_algorithm: flags.EditedAlgorithm = False,
    as_json: flags.Json = False,
) -> None:
    """Play whole episodes with a trained policy, and sum up their returns.

    The interquartile mean comes with its 95 % bootstrap interval: over episodes, and for a run with
    several agents over agents too.

    Example: mjx-sac eval runs/ant --episodes 100
    """
    stored = stored_policy.find(run, step, edited_algorithm=edited_algorithm)
    stored_policy.choose_agent(stored, seed_index)
    where = env or stored.config.env
    envs.check(where, "jax" if env else stored.config.impl)
    resolve.check_device(device)
    if not as_json:
        slow = "; compiling takes half a minute and more" if envs.by_brax(where) else ""
        print_line(f"playing {episodes} episodes of {where}{slow}")
    how: dict[str, Any] = {"deterministic": not stochastic, "seed": seed, "episodes": episodes}
    with contextlib.redirect_stdout(sys.stderr):  # an environment may print
        other = {"env": env, "env_options": env_option, "backend": backend}
        other["domain_randomization"] = domain_randomization
        agents = _play(stored, seed_index, device, **other, **how)
    result = {
        "run": run,
        "step": stored.step,
        "iterations": stored.iterations(seed_index),
        "env": where,
        **how,
        **agents,
    }
    print_line(json.dumps(result) if as_json else _report(result))


def _play(stored: StoredPolicy, seed_index: int | None, device: str, **how: Any) -> dict[str, Any]:
    """Return statistics of one agent's episodes, or of all agents' and each agent's."""
    from mjx_sac.policy import statistics
    from mjx_sac.policy.evaluate import evaluate_policies
    from mjx_sac.policy.policy import load_policy
    from mjx_sac.training.host.device import set_up

    config = stored.config
    set_up(device, config.deterministic)
    chosen = range(config.num_agents) if seed_index is None else [seed_index]
    where = (stored.directory, stored.step)
    # `find` has compared the algorithm's file.
    policies = [load_policy(*where, seed_index=i, edited_algorithm=True) for i in chosen]
    described = [statistics.describe(one) for one in evaluate_policies(policies, **how)]
    if len(described) == 1:
        return described[0]
    agents = dict(zip(config.agent_names(), described, strict=True))
    return {**statistics.across(agents), "agents": agents}


def _report(result: dict[str, Any]) -> str:
    """Return how the episodes of one agent went, or a line for each of several."""
    actions = "deterministic" if result["deterministic"] else "sampled"
    played = f"{result['episodes']} episodes of {result['env']}, {actions} actions"
    best = "its best, " if result["step"] == "best" else ""
    first = f"{result['run']} at {best}{result['iterations']:,} iterations: {played}"
    r, spread = result["return"], _SPREAD.format(**result["return"])
    interval = f"{r['iqm_low']:,.1f} to {r['iqm_high']:,.1f}"
    if agents := result.get("agents"):
        rows = [["agent", "mean", "std", "IQM"]]
        for agent, one in agents.items():
            rows.append([agent, *(f"{one['return'][k]:,.1f}" for k in ("mean", "std", "iqm"))])
        return (
            f"{first}, per agent\n{table(rows)}\nover agents' means:  {spread}\n"
            f"IQM {r['iqm']:,.1f}  95 % interval over agents {interval}"
        )
    infinite = 1 - result["terminated"] - result["truncated"]
    ended = f"{result['terminated']:.0%} terminated, {result['truncated']:.0%} truncated"
    ended += f", {infinite:.0%} stopped being finite" if infinite > 1e-9 else ""
    successes = [x for name, x in result["reported"].items() if name in SUCCESS]
    ended += f", {successes[0]:.0%} with success" if successes else ""
    return (
        f"{first}\nreturn  {spread}\n"
        f"        IQM {r['iqm']:,.1f}  95 % interval {interval}\n"
        f"length  {_SPREAD.format(**result['length'])} steps\n"
        f"ended   {ended}"
    )
