"""Learn from mirrored transitions of Unitree's Go1, too: its left legs are as its right ones.

    mjx-sac train --env playground/Go1JoystickFlatTerrain --algorithm docs/examples/go1_mirrored.py

Every batch is learned from together with its reflection in the plane between left and right: twice
the rows for every gradient step. The losses are soft actor-critic's. For another algorithm import
what its module defines: `from mjx_sac.algorithms.fastsac import Config, losses, networks,
optimizers`.

The layout is that of MuJoCo Playground 0.2.0, `_get_obs` in locomotion/go1/joystick.py. The robot
is not quite symmetric. Its IMU is 6.7 cm to the right of that plane: where it turns at w rad/s, the
velocity that its reflection would measure is 13 cm times w off, and so is what it earns for that
velocity. Masses are off by 1 to 2 mm.
"""

import jax
import jax.numpy as jnp
import numpy as np

import mjx_sac

losses = mjx_sac.Losses()

# Signs after a reflection that turns y around: x is forwards, y to the left.
VECTOR = (1, -1, 1)  # a velocity or a force
ROTATION = (-1, 1, -1)  # an angular velocity
JOINTS = (-1, 1, 1)  # of a leg: abduction turns about x, hip and knee about y
COMMAND = (1, -1, -1)  # forwards, to the left, and turn to the left
SWAPPED = (1, 0, 3, 2)  # legs are front right, front left, rear right, rear left


def body(signs):
    """Return where each number of the trunk's comes from, and its sign."""
    return [*enumerate(signs)]


def legs(signs):
    """Return the same for numbers of each leg."""
    return [(len(signs) * leg + i, sign) for leg in SWAPPED for i, sign in enumerate(signs)]


STATE = [
    body(VECTOR),  # velocity
    body(ROTATION),  # gyroscope
    body(VECTOR),  # gravity
    legs(JOINTS),  # angles
    legs(JOINTS),  # their velocities
    legs(JOINTS),  # the last action
    body(COMMAND),
]
PRIVILEGED_STATE = [
    *STATE,
    body(ROTATION),  # gyroscope
    body(VECTOR),  # accelerometer
    body(VECTOR),  # gravity
    body(VECTOR),  # velocity
    body(ROTATION),  # angular velocity in the world
    legs(JOINTS),  # angles
    legs(JOINTS),  # their velocities
    legs(JOINTS),  # torques
    legs((1,)),  # contacts
    legs(VECTOR),  # velocities of the feet in the world
    legs((1,)),  # seconds in the air
    body(VECTOR),  # a push
    body((1,)),  # whether there is one
]
SIZES = [sum(map(len, blocks)) for blocks in (STATE, PRIVILEGED_STATE)]


def joined(blocks):
    """Return an order and signs for all blocks, side by side."""
    starts = np.cumsum([0, *map(len, blocks[:-1])])
    placed = zip(starts, blocks, strict=True)
    pairs = [(start + i, sign) for start, block in placed for i, sign in block]
    order, signs = zip(*pairs, strict=True)
    return np.array(order), np.array(signs, np.float32)


ORDER, SIGNS = joined(PRIVILEGED_STATE)
ACTION_ORDER, ACTION_SIGNS = joined([legs(JOINTS)])


def mirrored(observation):
    """Return the reflection of `privileged_state`, or of its beginning, `state`."""
    if (size := observation.shape[-1]) not in SIZES:
        raise ValueError(f"{size} numbers are no observation of Go1Joystick, which has {SIZES}")
    return observation[..., ORDER[:size]] * SIGNS[:size]


def mirrored_action(action):
    """Return the reflection of an action, a target for each joint."""
    return action[..., ACTION_ORDER] * ACTION_SIGNS


def augment(batch, key):
    """Return the batch, and its reflection below it."""
    reflection = batch._replace(
        observation=mirrored(batch.observation),
        action=mirrored_action(batch.action),
        next_observation=mirrored(batch.next_observation),
    )
    return jax.tree.map(lambda *rows: jnp.concatenate(rows), batch, reflection)
