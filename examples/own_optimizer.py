"""An optimizer and a schedule of your own, and a moving average of the parameters.

    python train.py --config=configs/smoke.py --workdir=runs/lamb \
        --config.optimizer.name=examples/own_optimizer.py:central_lamb \
        --config.optimizer.schedule=examples/own_optimizer.py:triangle \
        --config.ema_decay=0.99
    liqe score samples --model runs/lamb/last

The run validates and exports the moving average. Both functions are pure, so a run that is killed and started again
ends with the same parameters.
"""

import optax


def central_lamb(learning_rate):
    """LAMB on gradients whose mean is removed.

    Args:
      learning_rate: of the step, a scalar array. The structure of the state must not depend on it.

    Returns:
      An optax transformation. Its state is a part of the checkpoints.
    """
    return optax.chain(optax.centralize(), optax.lamb(learning_rate, weight_decay=1e-3))


def triangle(step, peak=1e-3, period=20):
    """A learning rate that rises and falls again every `period` steps.

    Args:
      step: steps done, from 0.
      peak: the highest rate.
      period: steps from one low to the next.
    """
    phase = (step % period + 0.5) / period
    return peak * (1 - abs(2 * phase - 1))
