"""The optimiser that a recipe names, with its groups."""

import math

import torch
from torch import nn

from ..recipe import Recipe


class AdamWRawEpsilon(torch.optim.Optimizer):
    """Adam with decoupled decay and epsilon added before the bias correction (IA-Net, optimizer/adam_optimizer.py).

    ``p -= lr * decay * p``, then ``p -= lr * sqrt(1 - b2**t) / (1 - b1**t) * m / (sqrt(v) + eps)``: the effective
    epsilon is ``eps / sqrt(1 - b2**t)``, 31.6 times torch's in the first step.

    Args:
        params, lr, betas, eps, weight_decay: as in ``torch.optim.AdamW``.
    """

    def __init__(self, params, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            members = [p for p in group["params"] if p.grad is not None]
            for p in members:
                if not self.state[p]:
                    self.state[p] = {"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
                self.state[p]["step"] += 1
            # Parameters that were thawed later have counted fewer steps.
            for step in {self.state[p]["step"] for p in members}:
                _update([p for p in members if self.state[p]["step"] == step], self.state, group, step)
        return loss


def _update(params: list[nn.Parameter], state, group, step: int) -> None:
    first, second = group["betas"]
    grads = [p.grad for p in params]
    means = [state[p]["exp_avg"] for p in params]
    squares = [state[p]["exp_avg_sq"] for p in params]
    torch._foreach_lerp_(means, grads, 1 - first)
    torch._foreach_mul_(squares, second)
    torch._foreach_addcmul_(squares, grads, grads, 1 - second)
    if group["weight_decay"]:
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
    denominators = torch._foreach_sqrt(squares)
    torch._foreach_add_(denominators, group["eps"])
    size = group["lr"] * math.sqrt(1 - second**step) / (1 - first**step)
    torch._foreach_addcdiv_(params, means, denominators, -size)


OPTIMIZER_CLASSES = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "adamw_raw_epsilon": AdamWRawEpsilon,
}


class PlateauFactor:
    """Factor on the learning rate that falls when an observed value has stopped falling (torch's ReduceLROnPlateau
    with its default threshold of 1e-4, relative, and no least step).

    Called by ``LambdaLR``, which saves and restores its attributes with a checkpoint.
    """

    THRESHOLD = 1e-4

    def __init__(self, gamma: float, patience: int):
        self.gamma, self.patience = gamma, patience
        self.factor, self.best, self.bad = 1.0, math.inf, 0

    def __call__(self, step: int) -> float:
        return self.factor

    def observe(self, value: float) -> None:
        """Take note of an evaluation."""
        # As torch has it: for a best value below 0 the limit lies above it.
        if value < self.best * (1 - self.THRESHOLD):
            self.best, self.bad = value, 0
        else:
            self.bad += 1
        if self.bad > self.patience:
            self.factor, self.bad = self.factor * self.gamma, 0


def build_optimizer(model: nn.Module, recipe: Recipe, args) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters, one group for each pair of learning-rate and decay factors.

    Args:
        args: training arguments, whose learning rate, betas, epsilon and decay are used.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        # DistributedDataParallel may have wrapped the model.
        name = name.removeprefix("module.")
        groups.setdefault((recipe.lr_factor(name), recipe.decay_factor(name)), []).append(parameter)
    return OPTIMIZER_CLASSES[recipe.optimizer](
        [
            {"params": members, "lr": args.learning_rate * rate, "weight_decay": args.weight_decay * decay}
            for (rate, decay), members in groups.items()
        ],
        lr=args.learning_rate,
        betas=(args.adam_beta1, args.adam_beta2),
        eps=args.adam_epsilon,
        weight_decay=args.weight_decay,
    )
