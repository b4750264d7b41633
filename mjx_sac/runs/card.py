"""What of a run is shared: its files, and a model card made from it."""

# pyright: basic
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, pstdev

from scipy import stats

from mjx_sac.algorithms import PACKAGED
from mjx_sac.config import require
from mjx_sac.runs import array_store, event_files, hub, plot, provenance, stored_policy
from mjx_sac.runs.directory import ITEMS, best_path
from mjx_sac.runs.event_files import Curves
from mjx_sac.runs.stored_policy import StoredPolicy

_RETURN, _STD = "eval/mean_reward", "eval/std_reward"


def push(
    run: str, name: str, *, checkpoint: bool = False, private: bool | None = None
) -> tuple[StoredPolicy, str, int]:
    """Share a run's newest policy, and the best by evaluation, as the model `name` on the hub.

    With its curves and a card; with `checkpoint` also with what resuming and `--from` need.

    Returns:
      The policy, where it can be looked at, and how many bytes there are.

    Raises:
      UsageError: there is no policy yet, or a file of it is damaged; or see `hub.push`.
    """
    require(["huggingface_hub", "matplotlib"], "hub", f"name = {name!r}")
    stored = stored_policy.find(run, edited_algorithm=True)  # of the algorithm, fields alone
    files, agents = _files(stored, checkpoint), stored.config.agent_names() or ("",)
    curves = [event_files.read(stored.directory / agent) for agent in agents]
    if drawn := [sorted(curve[_RETURN].items()) for curve in curves if _RETURN in curve]:
        picture, title = io.BytesIO(), stored.config.env
        plot.draw({stored.config.algorithm: drawn}, picture, title=title, y_label=_RETURN)
        files[hub.CURVE] = picture.getvalue()
    files[hub.CARD] = _card(name, stored, curves, bool(drawn)).encode()
    message = f"{stored.config.env} at {stored.iterations():,} iterations"
    sizes = [len(x) if isinstance(x, bytes) else x.stat().st_size for x in files.values()]
    return stored, hub.push(name, files, message, private), sum(sizes)


def _files(stored: StoredPolicy, checkpoint: bool) -> dict[str, Path | bytes]:
    """Return what is shared, each part verified, by its path in the run's directory."""
    home, agents = stored.directory, ("", *stored.config.agent_names())
    parts = [stored.path.with_name(item) for item in ITEMS if checkpoint or item == "policy"]
    found: list[Path] = []
    for part in (*parts, best_path(home)):
        if part in parts or part.exists():
            try:
                array_store.verify(part)
            except array_store.DamagedError as error:
                raise stored_policy.unusable(error, home, stored.path) from None
            found += part.iterdir()
    for pattern in ("kwargs.json", "events.out.tfevents.*"):
        found += (path for agent in agents for path in (home / agent).glob(pattern))
    # Event files are named after the machine, too.
    return {re.sub(r"(tfevents\.\d+)\..*\.", r"\1.", str(x.relative_to(home))): x for x in found}


_CARD = """\
---
library_name: mjx-sac
pipeline_tag: reinforcement-learning
tags: [reinforcement-learning, deep-reinforcement-learning, mjx-sac, {algorithm}, {env}]
model-index: {results}
---

# {algorithm} on {env}

Trained by mjx-sac for {iterations:,} iterations (environment transitions){time}, {seeds}.

{table}

## Use it

With mjx-sac and its extra `hub`:

```sh
mjx-sac eval hub:{name}
mjx-sac record hub:{name} --out policy.html
```

```python
import mjx_sac

policy = mjx_sac.load_policy("hub:{name}")
```

## Train it again

```sh
{command}
```

With {versions}; commit {commit}.{file}
"""


def _card(name: str, stored: StoredPolicy, curves: Sequence[Curves], drawn: bool) -> str:
    """Return the model card."""
    config, said, rows = stored.config, stored.manifest, [*_returns(stored, curves)]
    table = ["| policy | iterations | mean return | 95 % interval |", "|---|---|---|---|"]
    table += (f"| {which} | {at:,} | {mean:,.1f} | {text} |" for which, at, mean, text in rows)
    results = {
        "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
        "dataset": {"name": config.env, "type": config.env},
        "metrics": [{"type": "mean_reward", "value": round(mean, 2)} for *_, mean, _ in rows[:1]],
    }
    seconds = sum(config.epoch_iterations / x for x in curves[0].get("time/fps", {}).values())
    last, packaged = config.seed + config.num_seeds - 1, config.algorithm in PACKAGED
    file = f" `{config.algorithm}` (SHA-256 {said.get('algorithm_sha256')}) is not in here."
    return _CARD.format(
        name=name,
        env=config.env,
        algorithm=config.algorithm,
        results=json.dumps([{"name": config.algorithm, "results": [results] if rows else []}]),
        iterations=stored.iterations(),
        time=f" in {seconds / 3600:.2g} hours" if seconds else "",
        seeds=f"seed {config.seed}" + (f" to {last}" if last > config.seed else ""),
        table="\n".join([*table, "", f"![{_RETURN}]({hub.CURVE})" if drawn else ""]),
        command=provenance.command(config),
        versions=", ".join(f"{k} {x}" for k, x in said.get("versions", {}).items() if x),
        commit=said.get("git_commit") or "unknown",
        file="" if packaged else file,
    )


def _returns(
    stored: StoredPolicy, curves: Sequence[Curves]
) -> Iterator[tuple[str, int, float, str]]:
    """Yield of each policy: which it is, after how many iterations, its mean return, and Student's
    interval for that: over the episodes of an evaluation, of several agents over them.
    """
    newest, best = stored.manifest, best_path(stored.directory)
    evaluated = {"newest": (newest, newest.get("evaluated"))}
    if best.exists():
        manifest = array_store.manifest(best)
        iterations = manifest["iterations"]
        at = iterations if isinstance(iterations, int) else max(iterations)
        evaluated["the best of its evaluations"] = manifest, at
    for which, (manifest, at) in evaluated.items():
        returns = [x for x in manifest.get("returns") or () if x is not None]
        if at is None or not returns:
            continue
        mean, over, n = fmean(returns), "episodes", stored.config.episodes_per_eval
        deviation = curves[0].get(_STD, {}).get(at)
        if stored.config.is_population:
            deviation, over, n = pstdev(returns), "agents", len(returns)
        text = "not known"
        if deviation is not None and n > 1:
            half = float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n - 1)
            text = f"{mean - half:,.1f} to {mean + half:,.1f}, over {n} {over}"
        yield which, at, mean, text
