"""Training loops of the reference: torch's AdamW and clipping, transformers' schedules, and a plain AdamW."""
import math

import torch
from transformers import get_scheduler


def optimize(parameters, steps, gradients, *, lr, schedule="linear", warmup=0, total=None, clip=1.0, decay=0.0, after=None):
    """Yields {"step", "loss", "gradNorm", "learningRate"} of each optimizer step, `step` counting from 1.

    parameters  name -> leaf tensor that the optimizer changes
    steps       one item per optimizer step, passed to `gradients`
    gradients   item -> (loss, name -> gradient); the loss is the sum over supervised tokens / their number
    total       total steps of the schedule (default: len(steps))
    clip        largest total gradient norm; "gradNorm" is the norm before clipping
    after       called after each change of the parameters
    """
    leaves = list(parameters.values())
    optimizer = torch.optim.AdamW(leaves, lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)
    scheduler = get_scheduler(schedule, optimizer, num_warmup_steps=warmup, num_training_steps=total or len(steps))
    for number, item in enumerate(steps, 1):
        loss, values = gradients(item)
        for name, parameter in parameters.items():
            parameter.grad = values[name].to(parameter.dtype)
        norm = torch.nn.utils.clip_grad_norm_(leaves, clip).item()
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()
        if after:
            after()
        yield {"step": number, "loss": loss, "gradNorm": norm, "learningRate": rate}


class AdamW:
    """AdamW as published (Loshchilov and Hutter 2019, algorithm 2, with torch's order), implemented in float64.

        p <- p - lr wd (p - anchor)
        m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g g
        p <- p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    `anchors`: the value that decay pulls each parameter to (name -> number).
    """

    def __init__(self, parameters, anchors, decay, betas=(0.9, 0.999), eps=1e-8):
        self.parameters, self.anchors, self.decay, self.betas, self.eps = parameters, anchors, decay, betas, eps
        self.first = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self.second = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients, lr):
        self.steps += 1
        b1, b2 = self.betas
        for name, p in self.parameters.items():
            g, m, v = gradients[name], self.first[name], self.second[name]
            p -= lr * self.decay * (p - self.anchors[name])
            m.copy_(b1 * m + (1 - b1) * g)
            v.copy_(b2 * v + (1 - b2) * g * g)
            p -= lr * (m / (1 - b1**self.steps)) / ((v / (1 - b2**self.steps)).sqrt() + self.eps)


def clipped(gradients, limit):
    """Gradients scaled to a total norm of at most `limit`, as in clip_grad_norm_, and the norm before."""
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients.values()))
    factor = min(1.0, limit / (norm + 1e-6))
    return {name: g * factor for name, g in gradients.items()}, norm


def learning_rates(schedule, lr, warmup, total):
    """The learning rate of each optimizer step by transformers' get_scheduler."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = get_scheduler(schedule, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates
