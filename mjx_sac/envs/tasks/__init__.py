"""Gymnasium's MuJoCo tasks, version 5, on MJX: `mjx/Ant-v5` and ten more. Imports no JAX."""

from mjx_sac.envs.tasks.options import SIZES as SIZES
from mjx_sac.envs.tasks.options import check as check
