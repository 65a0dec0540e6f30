"""Simulates clusters and their nodes in one process. Hours of simulated time pass at once; runs are reproducible.

::

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a", skew=-1e6), world.node("b", latency=0.2)
        async with world.cluster() as cluster:
            b.fail(Failing.HANG, after=1000)
            key = await store(cluster, sample(5000))
            assert await a.check_present(key)

    simulate(scenario, seed=7)

Time is trio's mock clock: as soon as all tasks wait, it jumps to the next deadline. Everything random depends on the
seed: `Simulation.random`, the jitter of back-offs, and the order in which trio runs tasks that are ready at the same
time. The same seed gives the same `Simulation.trace`, and the error of a scenario that fails names its seed.

A scenario must not use threads or anything outside the process, because simulated time does not wait for them. Use
stores in memory and connections inside the process.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import trio
import trio.testing

from p2pannex.cluster import Cluster, Node
from p2pannex.testing.simulated_clock import SimulatedClock
from p2pannex.testing.simulated_node import Conditions, Failing, SimulatedNode

T = TypeVar("T")

NODE_TIMEOUT = 30.0
"""The default timeout of nodes in a simulated cluster, in seconds."""


class Simulation:
    """One simulation: its nodes, its random numbers, and a trace of what happened. Made by `simulate`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)  # noqa: S311 - not a secret
        self.trace: list[tuple[float, str, str]] = []
        """What happened: the true time, the name of the node, the event."""
        self.nodes: list[SimulatedNode] = []

    def note(self, name: str, event: str) -> None:
        """Add to the trace."""
        self.trace.append((trio.current_time(), name, event))

    def times(self, event: str, name: str | None = None) -> list[float]:
        """The true times at which an event happened, at the node `name`, or at any node if it is None."""
        return [time for time, node, what in self.trace if what == event and name in {None, node}]

    def node(self, name: str, *, skew: float = 0.0, counts_sleep: bool = True, **conditions: Any) -> SimulatedNode:
        """Add a node with these `Conditions`. Its clock is off by `skew` seconds."""
        clock = SimulatedClock(skew, counts_sleep=counts_sleep)
        node = SimulatedNode(name, clock=clock, conditions=Conditions(**conditions), report=self.note)
        self.nodes.append(node)
        return node

    def cluster(
        self,
        nodes: Iterable[SimulatedNode] | None = None,
        *,
        name: str = "cluster",
        timeout: float = NODE_TIMEOUT,
        clock: SimulatedClock | None = None,
        **settings: Any,
    ) -> Cluster:
        """A cluster of `nodes`, by default of all nodes. Enter it with ``async with``."""
        chosen = self.nodes if nodes is None else nodes
        return Cluster(
            f"uuid-of-{name}",
            [Node(node.name, node, timeout=timeout) for node in chosen],
            clock=clock or SimulatedClock(),
            **settings,
        )


def simulate(scenario: Callable[[Simulation], Awaitable[T]], seed: int = 0) -> T:
    """Run a scenario, and return what it returns. Errors that it raises get a note with the seed."""
    state = random.getstate()
    # Makes the order of tasks that are ready at the same time depend on the seed. trio has this switch for hypothesis
    # only, so it is private.
    run: Any = trio._core._run
    order, switch = run._r.getstate(), run._ALLOW_DETERMINISTIC_SCHEDULING
    random.seed(seed)
    run._r.seed(seed)
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        return trio.run(scenario, Simulation(seed), clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseException as error:
        name = getattr(scenario, "__qualname__", "scenario")
        error.add_note(f"in the simulation with seed {seed}; to run it again: simulate({name}, {seed})")
        raise
    finally:
        random.setstate(state)
        run._r.setstate(order)
        run._ALLOW_DETERMINISTIC_SCHEDULING = switch


__all__ = ["NODE_TIMEOUT", "Conditions", "Failing", "SimulatedClock", "SimulatedNode", "Simulation", "simulate"]
