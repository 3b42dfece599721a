"""The plain head against other ways to fit it: seconds until the same validation loss, on generated vectors.

    python -m benchmarks.fit_head [--rows 100000] [--rounds 3] [--margin 0.01]

Everyone gets the same standardised float32 matrix in memory, 90 % of it to train on, batches of 1,024 and the same
regulariser; the ways take turns, and each round begins with another one. The loss to reach is the least that any way
reached in the round, plus a margin. Keras and PyTorch copy the weights after each pass, which are measured when the
clock has stopped; heliograph and scikit-learn are called anew for each number of passes, and each call is timed whole,
the columns' means and deviations included, which the others need not compute. Everyone's clock runs from the first call
after the imports, building and compiling included. "heliograph, whole" is the call as it is made, which finds out for
itself when to stop. PyTorch is run where it is installed. Heliograph and scikit-learn use OpenBLAS, whose kernels are
printed: where OPENBLAS_CORETYPE is set, they may be other ones than the processor's best.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from benchmarks.leak_check import generate
from pipelines.training.features import Examples
from pipelines.training.fit_head import fit_head
from pipelines.training.fit_settings import FitSettings
from transforms.encoders.tensorflow_runtime import import_keras, import_tensorflow
from transforms.model.head import Array
from transforms.store.read import aligned_matrix

L2, BATCH = 1e-4, 1024
PASSES = 12
"""Of Keras and PyTorch."""

OURS, ITERATIONS = (2, 3, 4, 5), (10, 20)
"""Passes of heliograph and iterations of scikit-learn, a call each."""

Moment = tuple[float, Array, Array]
"""Seconds since the start, kernel ``[D, C]`` and bias."""


class Problem:
    """Overlapping classes: labels are drawn from a softmax of the vectors."""

    def __init__(self, rows: int, dimension: int, classes: int) -> None:
        vectors = aligned_matrix(rows, dimension)
        vectors[:] = generate(rows, dimension, seed=1)
        vectors -= vectors.mean(axis=0)
        vectors /= vectors.std(axis=0) + 1e-6
        generator = np.random.default_rng(2)
        kernel = generator.normal(size=(dimension, classes)).astype(np.float32) * (2.5 / dimension**0.5)
        targets = np.empty(rows, np.int32)
        for start in range(0, rows, 8192):
            logits = vectors[start : start + 8192] @ kernel
            targets[start : start + 8192] = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
        part = int(0.9 * rows)
        self.classes = classes
        self.train = Examples(vectors=vectors[:part], targets=targets[:part])
        self.validation = Examples(vectors=vectors[part:], targets=targets[part:])

    def loss(self, kernel: Array, bias: Array) -> float:
        """Returns the validation loss in nats."""
        logits = (self.validation.vectors @ kernel + bias).astype(np.float64)
        picked = logits[np.arange(len(logits)), self.validation.targets]
        return float((np.logaddexp.reduce(logits, axis=1) - picked).mean())


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line for each way in each round, then the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--margin", type=float, default=0.01, help="share of the loss that may be missing")
    flags = parser.parse_args(argv)
    problem = Problem(flags.rows, flags.dimension, flags.classes)
    kernels = {found["architecture"] for found in threadpool_info() if found["internal_api"] == "openblas"}
    print(f"OpenBLAS with the kernels for {', '.join(sorted(kernels))}")
    results = []
    for found in compare(problem, flags.rounds, flags.margin):
        results.append(found)
        if "missing" in found:
            print(f"{found['way']}: not run, {found['missing']}")
        else:
            print(
                f"round {found['round']} {found['way']}: {found['seconds']:.2f} s to {found['goal']:.4f}; in all "
                f"{found['whole_seconds']:.2f} s, {found['cpu_seconds']:.1f} processor s, least {found['least']:.4f} "
                f"after {found['passes']}",
                flush=True,
            )
    of_way = {found["way"]: list[float]() for found in results if "seconds" in found}
    for found in results:
        if "seconds" in found:
            of_way[found["way"]].append(found["seconds"])
    ours = statistics.median(of_way["heliograph"])
    for name, seconds in of_way.items():
        median = statistics.median(seconds)
        print(f"{name}: median {median:.2f} s, {median / ours:.2f} of heliograph's")
    return 0


def compare(problem: Problem, rounds: int, margin: float) -> Iterator[dict[str, Any]]:
    """Yields what each way needed in each round, and first the ways that are missing.

    ``way`` names it. ``seconds`` are those until the loss ``goal``, infinite if it was not reached; ``whole_seconds``
    and ``cpu_seconds`` are of all that was run, ``least`` is the least loss and ``passes`` how often it was looked at;
    or ``missing`` says why it was not run.
    """
    import_tensorflow().zeros(1)
    ways: dict[str, Callable[[Problem], list[Moment]]] = {
        "heliograph": by_heliograph, "heliograph, whole": by_heliograph_whole, "keras": by_keras,
        "keras, own initialisation": by_keras_as_it_is, "torch": by_torch, "scikit-learn": by_scikit_learn,
    }  # fmt: skip
    for name, module in (("torch", "torch"), ("scikit-learn", "sklearn")):
        if importlib.util.find_spec(module) is None:
            ways.pop(name)
            yield {"way": name, "missing": "as it is not installed"}
    for number in range(rounds):
        names = [*ways][number % len(ways) :] + [*ways][: number % len(ways)]
        runs = {}
        for name in names:
            used = time.process_time()
            moments = ways[name](problem)
            used = time.process_time() - used
            runs[name] = used, moments, [problem.loss(kernel, bias) for _, kernel, bias in moments]
        goal = min(min(losses) for _, _, losses in runs.values()) * (1 + margin)
        for name, (used, moments, losses) in runs.items():
            reached = [at for (at, _, _), loss in zip(moments, losses, strict=True) if loss <= goal]
            yield {
                "way": name,
                "round": number + 1,
                "goal": goal,
                "seconds": reached[0] if reached else math.inf,
                "whole_seconds": moments[-1][0],
                "cpu_seconds": used,
                "least": min(losses),
                "passes": len(moments),
            }


def by_heliograph(problem: Problem) -> list[Moment]:
    """fit_head with ever more passes: each is a fit of its own, timed as one."""
    return [moment for passes in OURS for moment in by_heliograph_whole(problem, passes)]


def by_heliograph_whole(problem: Problem, passes: int = 100) -> list[Moment]:
    """The whole of fit_head, compiling, standardising and stopping included."""
    started = time.perf_counter()
    labels = [f"class {number:03d}" for number in range(problem.classes)]
    settings = FitSettings(l2_regularizer=L2, train_epochs=passes)
    fit = fit_head(problem.train, problem.validation, labels, settings)
    seconds, head = time.perf_counter() - started, fit.head
    kernel = head.layers[0][0] / head.std[:, None]
    return [(seconds, kernel, head.layers[0][1] - head.mean @ kernel)]


def by_keras_as_it_is(problem: Problem) -> list[Moment]:
    """`fit` from the initial weights that Keras takes by default."""
    return by_keras(problem, "glorot_uniform")


def by_keras(problem: Problem, initial: str = "zeros") -> list[Moment]:
    """`fit` with Adam from zero, as its documentation has it."""
    keras = import_keras()
    moments: list[Moment] = []
    started = time.perf_counter()
    layer = keras.layers.Dense(
        problem.classes, kernel_initializer=initial, kernel_regularizer=keras.regularizers.L2(L2)
    )
    network = keras.Sequential([keras.Input((problem.train.vectors.shape[1],)), layer])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer=keras.optimizers.Adam(0.001), loss=loss)

    def keep(_epoch: int, _logs: object) -> None:
        moments.append((time.perf_counter() - started, *layer.get_weights()))

    callback = keras.callbacks.LambdaCallback(on_epoch_end=keep)
    train = problem.train
    network.fit(train.vectors, train.targets, batch_size=BATCH, epochs=PASSES, verbose=0, callbacks=[callback])
    return moments


def by_torch(problem: Problem) -> list[Moment]:
    """A plain loop over the matrix, shuffled by rows, with Adam from zero."""
    import torch

    moments: list[Moment] = []
    started = time.perf_counter()
    vectors, targets = torch.from_numpy(problem.train.vectors), torch.from_numpy(problem.train.targets).long()
    layer = torch.nn.Linear(vectors.shape[1], problem.classes)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.001)
    for _ in range(PASSES):
        for rows in torch.randperm(len(vectors)).split(BATCH):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(layer(vectors[rows]), targets[rows])
            (loss + L2 * layer.weight.square().sum()).backward()
            optimizer.step()
        kernel, bias = layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()
        moments.append((time.perf_counter() - started, kernel, bias))
    return moments


def by_scikit_learn(problem: Problem) -> list[Moment]:
    """L-BFGS, stopped after ever more iterations: each stop is a fit of its own, timed as one."""
    from sklearn.linear_model import LogisticRegression

    moments: list[Moment] = []
    for iterations in ITERATIONS:
        started = time.perf_counter()
        model = LogisticRegression(C=1 / (2 * L2 * len(problem.train.targets)), max_iter=iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has not converged, which is what is measured
            model.fit(problem.train.vectors, problem.train.targets)
        moments.append((time.perf_counter() - started, model.coef_.T, model.intercept_))
    return moments


if __name__ == "__main__":
    raise SystemExit(main())
