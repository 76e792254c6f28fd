"""lr_env: a neural network's training as an environment, learning rates set layer by layer.

Importing it registers the Gymnasium ids where Gymnasium is installed; the frozen controller
(`lr_env.controller`) needs torch, numpy and safetensors alone.
"""

from importlib.util import find_spec


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ImportError:
        # An import hook that forbids the package answers so.
        return False


if _installed("gymnasium"):
    from lr_env.registration import register_envs

    register_envs()
