"""Pictures: drawn for every kind of space, with what was pruned and without what failed."""

import math

import pytest
from helpers.sweeps import make_plan, play
from matplotlib.figure import Figure

from mjx_sac.sweep import plot


@pytest.mark.parametrize(
    ("params", "how"),
    [
        (["tau=0.1,0.2"], {}),
        (["tau=0.01..0.9", "hidden_sizes=8,8x8", "q_lr=1,2"], {"search": "random", "trials": 6}),
        (["tau=0.1,0.2", "policy_lr=1e-4,1e-2"], {"pruner": "halving"}),
    ],
)
def test_pictures_show_every_score(tmp_path, monkeypatch, params, how):
    kept, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *args, **more: (kept.append(figure), save(figure, *args))
    )
    score = lambda config: math.nan if config.tau == 0.1 and config.policy_lr > 1e-3 else config.tau  # noqa: E731
    played, _ = play(make_plan(tmp_path, *params, **how), score=score)
    plot.draw(played.study, played.plan.space, "eval/mean_reward", "title", tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    axes = kept[0].axes[0]
    scores = sorted(row["score"] for row in played.summary()["trials"] if row["score"])
    if len(params) == 2:
        texts = {text.get_text(): text.get_bbox_patch().get_linewidth() for text in axes.texts}
        assert texts == {"0.1": 0, "0.2": 2, "failed": 0}, "the best is framed"
    else:
        drawn = axes.collections[0].get_offsets()[:, 1]
        assert sorted(drawn) == pytest.approx(scores)


def test_a_sweep_that_failed_has_a_picture_too(tmp_path):
    for name, params in {"a": ["tau=0.1,0.2"], "b": ["tau=0.1,0.2", "q_lr=0.1,0.2"]}.items():
        plan = make_plan(tmp_path / name, *params)
        played, _ = play(plan, score=lambda config: math.nan)
        plot.draw(played.study, plan.space, "m", "title", tmp_path / "sweep.png")
