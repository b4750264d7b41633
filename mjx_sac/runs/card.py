"""What of a run is shared: its files, and a model card made from it by `card.md`."""

# pyright: basic
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev

from scipy import stats

from mjx_sac.algorithms import PACKAGED
from mjx_sac.config import require
from mjx_sac.runs import array_store, event_files, hub, plot, provenance, stored_policy
from mjx_sac.runs.directory import ITEMS, best_path
from mjx_sac.runs.stored_policy import StoredPolicy

_RETURN, _STD = "eval/mean_reward", "eval/std_reward"


def push(run: str, name: str, *, checkpoint: bool = False, private: bool = False) -> str:
    """Share a run's newest policy, and the best by evaluation, as the model `name` on the hub.

    With its curves and a card; with `checkpoint` also with what resuming and `--from` need. Returns
    where to look at it.

    Raises:
      UsageError: there is no policy yet, or a file of it is damaged; or see `hub.upload`.
    """
    require(["huggingface_hub", "matplotlib"], "hub", f"name = {name!r}")
    stored = stored_policy.find(run, edited_algorithm=True)  # of the algorithm, fields alone
    config, home = stored.config, stored.directory
    curves = [event_files.read(home / agent) for agent in config.agent_names() or ("",)]
    files = _files(stored, checkpoint)
    if drawn := [sorted(curve[_RETURN].items()) for curve in curves if _RETURN in curve]:
        picture = io.BytesIO()
        plot.draw({config.algorithm: drawn}, picture, title=config.env, y_label=_RETURN)
        files[hub.CURVE] = picture.getvalue()
    files[hub.CARD] = _card(name, stored, curves).encode()
    message = f"{config.env} at {stored.iterations():,} iterations"
    return hub.upload(name, files, message, private)


def _files(stored: StoredPolicy, checkpoint: bool) -> dict[str, Path | bytes]:
    """Return what is shared, arrays verified, by its path in the run's directory."""
    home, found = stored.directory, list[Path]()
    parts = [stored.path.with_name(item) for item in ITEMS if checkpoint or item == "policy"]
    for part in (*parts, *(path for path in [best_path(home)] if path.exists())):
        try:
            array_store.verify(part)
        except array_store.DamagedError as error:
            raise stored_policy.unusable(error, home, stored.path) from None
        found += part.iterdir()
    for agent in ("", *stored.config.agent_names()):
        for pattern in ("kwargs.json", "events.out.tfevents.*"):
            found += (home / agent).glob(pattern)
    # Event files are named after the machine, too.
    return {re.sub(r"(tfevents\.\d+)\..*\.", r"\1.", str(x.relative_to(home))): x for x in found}


def _card(name: str, stored: StoredPolicy, curves: Sequence[event_files.Curves]) -> str:
    config, said = stored.config, stored.manifest
    seconds = sum(config.epoch_iterations / x for x in curves[0].get("time/fps", {}).values())
    last, file = config.seed + config.num_seeds - 1, ""
    if config.algorithm not in PACKAGED:
        file = f" `{config.algorithm}`, SHA-256 {said.get('algorithm_sha256')}, is not in here."
    text = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    return text.format(
        name=name,
        env=config.env,
        algorithm=config.algorithm,
        iterations=stored.iterations(),
        time=f" in {seconds / 3600:.2g} hours" if seconds else "",
        seeds=f"seeds {config.seed} to {last}" if last > config.seed else f"seed {last}",
        returns=_returns(stored, curves),
        command=provenance.command(config),
        versions=", ".join(f"{k} {x}" for k, x in said.get("versions", {}).items() if x),
        commit=said.get("git_commit") or "unknown",
        file=file,
    )


def _returns(stored: StoredPolicy, curves: Sequence[event_files.Curves]) -> str:
    """Return what the newest evaluation found, with Student's interval for the mean: over its
    episodes, or over agents where there are several.
    """
    at, returns = stored.manifest.get("evaluated"), stored.manifest.get("returns") or ()
    known = [x for x in returns if x is not None]
    if at is None or not known:
        return "It has not been evaluated."
    n, over = stored.config.episodes_per_eval, "episodes"
    deviation = curves[0].get(_STD, {}).get(at)
    if stored.config.is_population:
        n, over, deviation = len(known), "agents", pstdev(known)
    text = f"Mean return at {at:,} iterations: **{fmean(known):,.1f}**"
    if deviation is not None and n > 1:
        half = float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n - 1)
        low, high = fmean(known) - half, fmean(known) + half
        text += f", 95 % interval {low:,.1f} to {high:,.1f}, over {n} {over}"
    return f"{text}.\n\n![{_RETURN}]({hub.CURVE})" if _RETURN in curves[0] else f"{text}."
