"""Where transitions come from: names, adapters, episodes. Importing it imports no JAX."""

from mjx_sac.envs.registry import adapt as adapt
from mjx_sac.envs.registry import by_brax as by_brax
from mjx_sac.envs.registry import check as check
from mjx_sac.envs.registry import is_gym_id as is_gym_id
from mjx_sac.envs.registry import make as make
from mjx_sac.envs.registry import packaged as packaged
from mjx_sac.envs.registry import register as register
