"""The compiled programs of a run, built in the background."""

from concurrent.futures import Future
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Lowered

from mjx_sac import compilation, population
from mjx_sac.trainer import Agent, RunState


class Programs:
    """The epoch is compiled while the first state is made, evaluation while the first epochs run.

    Attributes:
      epoch: future of the compiled, donating `population.epoch`.
    """

    def __init__(self, agent: Agent, lowered: Lowered, shapes: RunState) -> None:
        self._agent, self._keys = agent, population.keys(agent.config)
        self._shapes = (shapes.train.actor_params, shapes.normalizer)
        self._evaluate: Future[Any] | None = None
        self.epoch = compilation.in_background(partial(lowered.compile, compiler_options=compilation.options()))

    def prepare_evaluation(self) -> None:
        """Starts to compile, unless it has been: when training begins, so as not to delay the first gradient step."""
        if self._evaluate is None and self._agent.config.episodes_per_eval:
            self._evaluate = compilation.in_background(self._compile_evaluation)

    def _compile_evaluation(self) -> Any:
        return jax.jit(population.evaluate(self._agent)).lower(*self._shapes, self._keys, jnp.int32(0)).compile()

    def evaluate(self, state: RunState, epoch: int) -> dict[str, np.ndarray]:
        """The same initial states whenever the same epoch is evaluated, so a run that goes on repeats its evaluations."""
        self.prepare_evaluation()
        assert self._evaluate
        policy = (state.train.actor_params, state.normalizer)
        if len(state.key.devices()) > 1:
            policy = jax.device_get(policy)
        return jax.device_get(self._evaluate.result()(*policy, self._keys, jnp.int32(epoch)))
