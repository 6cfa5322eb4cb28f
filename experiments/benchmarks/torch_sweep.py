"""SGD with momentum in PyTorch as people write it, for ``benchmarks.sweep``.

Needs torch, which this project does not install.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

Parameters = dict[str, torch.Tensor]


def contenders(
    problem: Any, steps: int, loop_lanes: int
) -> Iterator[tuple[str, Callable[[], Any], float]]:
    """Yields name, function and scale of each way to train the lanes of a problem."""
    shape, hparams = problem.shape, problem.hparams
    x = torch.tensor(np.asarray(problem.data.x))
    labels = torch.tensor(np.asarray(problem.data.labels), dtype=torch.int64)
    batches = [
        (x[i : i + shape.batch_size], labels[i : i + shape.batch_size])
        for i in range(0, steps * shape.batch_size, shape.batch_size)
    ]
    lanes = np.stack(hparams[:3], axis=1).tolist()  # rate, l2 and momentum of each

    def mapped() -> Parameters:
        return _train_mapped(shape, batches, torch.tensor(lanes).T)

    def loop() -> list[torch.nn.Module]:
        return [_train_one(shape, batches, *lane) for lane in lanes[:loop_lanes]]

    yield "torch.func", mapped, 1.0
    yield "torch loop", loop, shape.lanes / min(loop_lanes, shape.lanes)


def _train_mapped(shape: Any, batches: list, hparams: torch.Tensor) -> Parameters:
    """Trains all lanes at once by ``torch.func``; the minibatches are shared."""
    rate, l2, momentum = (h[:, None, None] for h in hparams)
    size = (shape.lanes, shape.num_features, shape.num_classes)
    params = {"W": torch.zeros(size), "b": torch.zeros(shape.lanes, 1, size[-1])}
    velocity = {name: torch.zeros_like(value) for name, value in params.items()}

    def objective(params: Parameters, l2: torch.Tensor, x: Any, labels: Any) -> Any:
        scores = x @ params["W"] + params["b"]
        loss = torch.nn.functional.cross_entropy(scores, labels)
        return loss + 0.5 * l2.sum() * params["W"].square().sum()

    gradient_of = torch.func.vmap(torch.func.grad(objective), (0, 0, None, None))
    for x, labels in batches:
        gradient = gradient_of(params, l2, x, labels)
        for name in params:
            velocity[name].mul_(momentum).add_(gradient[name])
            params[name].sub_(rate * velocity[name])
    return params


def _train_one(
    shape: Any, batches: list, rate: float, l2: float, momentum: float
) -> torch.nn.Module:
    """Trains one lane by ``nn.Linear`` and ``optim.SGD``; the bias is not penalised."""
    model = torch.nn.Linear(shape.num_features, shape.num_classes)
    groups = [{"params": [model.weight], "weight_decay": l2}, {"params": [model.bias]}]
    optimizer = torch.optim.SGD(groups, lr=rate, momentum=momentum)
    for x, labels in batches:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    return model
