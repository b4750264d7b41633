"""`mjx-sac eval`: how good a trained policy is."""

import contextlib
import json
import sys
from typing import Annotated, Any

import typer

from mjx_sac import envs
from mjx_sac.runs import stored_policy
from mjx_sac.runs.resolve import check_device
from mjx_sac.training.host.console import print_line


def evaluate(
    run: Annotated[str, typer.Argument(help="the run's directory", metavar="RUN")],
    episodes: Annotated[
        int, typer.Option(min=1, help="how many, each from an initial state of its own")
    ] = 100,
    step: Annotated[
        int | None, typer.Option(help="iterations of the checkpoint; auto is the newest")
    ] = None,
    seed_index: Annotated[
        int | None,
        typer.Option("--seed_index", help="which of several agents, from 0; auto is all of them"),
    ] = None,
    env: Annotated[
        str | None, typer.Option(help="another environment of the same sizes; auto is the run's")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="another physics engine of Brax; auto is the run's")
    ] = None,
    stochastic: Annotated[bool, typer.Option("--stochastic", help="sample the actions")] = False,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="of initial states and sampled actions")
    ] = 0,
    device: Annotated[str, typer.Option(help="where to compute: auto, cpu, gpu or tpu")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON and nothing else")] = False,
) -> None:
    """Play whole episodes with a trained policy, and sum up their returns.

    The interquartile mean comes with its 95 % bootstrap interval: over episodes, and of a run with several agents over those too.

    Example: mjx-sac eval runs/ant --episodes 100
    """
    stored = stored_policy.find(run, step)
    stored_policy.choose_agent(stored, seed_index)
    where = env or stored.config.env
    envs.check(where, "jax" if env else stored.config.impl)
    check_device(device)
    if not as_json:
        print_line(
            f"playing {episodes} episodes of {where}{'; compiling it takes half a minute and more' * envs.by_brax(where)}"
        )
    with contextlib.redirect_stdout(sys.stderr):  # an environment may print
        from mjx_sac.policy import statistics
        from mjx_sac.policy.evaluate import evaluate_policies
        from mjx_sac.policy.policy import load_policy
        from mjx_sac.training.host.device import set_up

        set_up(device, stored.config.deterministic)
        chosen = range(stored.config.num_agents) if seed_index is None else [seed_index]
        policies = [load_policy(run, step, seed_index=index) for index in chosen]
        played = evaluate_policies(
            policies,
            env=env,
            backend=backend,
            episodes=episodes,
            deterministic=not stochastic,
            seed=seed,
        )
    how = {
        "run": run,
        "iterations": stored.iterations,
        "env": where,
        "deterministic": not stochastic,
    }
    described = [statistics.describe(episodes) for episodes in played]
    if len(described) == 1:
        result = {**how, "seed": seed, **described[0]}
    else:
        agents = dict(zip(stored.config.agent_names(), described, strict=True))
        result = {
            **how,
            "seed": seed,
            "episodes": episodes,
            **statistics.across(agents),
            "agents": agents,
        }
    print_line(
        json.dumps(result) if as_json else _lines(result) if len(described) == 1 else _table(result)
    )


def _table(result: dict[str, Any]) -> str:
    """A line for every agent, and one for all of them."""
    r, width = result["return"], max(map(len, result["agents"]))
    return "\n".join([
        f"{result['run']} at {result['iterations']:,} iterations: {_what(result)} for each of {len(result['agents'])} agents",
        *(
            f"{name:<{width}}  mean {one['return']['mean']:,.1f}  std {one['return']['std']:,.1f}  IQM {one['return']['iqm']:,.1f}"
            for name, one in result["agents"].items()
        ),
        f"of their means: mean {r['mean']:,.1f}  std {r['std']:,.1f}  from {r['min']:,.1f} to {r['max']:,.1f}",
        f"{'':16}IQM {r['iqm']:,.1f}  95 % interval over agents {r['iqm_low']:,.1f} to {r['iqm_high']:,.1f}",
    ])  # fmt: skip


def _what(result: dict[str, Any]) -> str:
    return f"{result['episodes']} episodes of {result['env']}, {'deterministic' if result['deterministic'] else 'sampled'} actions"


def _lines(result: dict[str, Any]) -> str:
    r, length = result["return"], result["length"]
    broken = 1 - result["terminated"] - result["truncated"]
    ended = f"{result['terminated']:.0%} terminated, {result['truncated']:.0%} truncated"
    return "\n".join([
        f"{result['run']} at {result['iterations']:,} iterations: {_what(result)}",
        f"return  mean {r['mean']:,.1f}  std {r['std']:,.1f}  median {r['median']:,.1f}  from {r['min']:,.1f} to {r['max']:,.1f}",
        f"        IQM {r['iqm']:,.1f}  95 % interval {r['iqm_low']:,.1f} to {r['iqm_high']:,.1f}",
        f"length  mean {length['mean']:,.1f}  std {length['std']:,.1f}  from {length['min']:,.0f} to {length['max']:,.0f} steps",
        f"ended   {ended}{f', {broken:.0%} stopped being finite' if broken > 1e-9 else ''}",
    ])  # fmt: skip
