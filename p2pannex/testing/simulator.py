"""A world of repositories in one process, in which hours pass in a moment, and which can be lived through again.

::

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a", skew=-1e6), world.node("b", latency=0.2)
        async with world.cluster() as cluster:
            b.fail(Failing.HANG, after=1000)
            key = await store(cluster, sample(5000))
            assert await a.check_present(key)

    simulate(scenario, seed=7)

Time is trio's mock clock, which jumps to the next thing that happens as soon as all wait. Everything random comes from
the seed: `Simulation.random`, the jitter of back-offs, and in which order trio runs tasks that are ready together. The
same seed gives the same `Simulation.trace`; a scenario that fails says which it was. A scenario must not use threads or
the world outside, since time would not wait for them: stores in memory, and connections inside the process.
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
"""Seconds that the clusters of a simulation give their nodes, unless told otherwise."""


class Simulation:
    """One world. Made by `simulate`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)  # noqa: S311 - not a secret
        self.trace: list[tuple[float, str, str]] = []
        """What happened: the true time, the node, what it did."""
        self.nodes: list[SimulatedNode] = []

    def note(self, name: str, event: str) -> None:
        """Add to the trace."""
        self.trace.append((trio.current_time(), name, event))

    def times(self, event: str, name: str | None = None) -> list[float]:
        """The true times at which something happened, at one node or at any."""
        return [time for time, who, what in self.trace if what == event and name in {None, who}]

    def node(self, name: str, *, skew: float = 0.0, counts_sleep: bool = True, **conditions: Any) -> SimulatedNode:
        """A new repository, its clock off by `skew` seconds, under these `Conditions`."""
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
        """A cluster of some of the nodes, by default of all, to be entered with ``async with``."""
        chosen = self.nodes if nodes is None else nodes
        return Cluster(
            f"uuid-of-{name}",
            [Node(node.name, node, timeout=timeout) for node in chosen],
            clock=clock or SimulatedClock(),
            **settings,
        )


def simulate(scenario: Callable[[Simulation], Awaitable[T]], seed: int = 0) -> T:
    """Live through a scenario; what it returns. What it raises has a note with the seed."""
    state = random.getstate()
    # The order of tasks that are ready at the same time: trio has a switch for it, which it offers to hypothesis only.
    run: Any = trio._core._run
    order, switch = run._r.getstate(), run._ALLOW_DETERMINISTIC_SCHEDULING
    random.seed(seed)
    run._r.seed(seed)
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        return trio.run(scenario, Simulation(seed), clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseException as error:
        name = getattr(scenario, "__qualname__", "scenario")
        error.add_note(f"in the simulation with seed {seed}; to live through it again: simulate({name}, {seed})")
        raise
    finally:
        random.setstate(state)
        run._r.setstate(order)
        run._ALLOW_DETERMINISTIC_SCHEDULING = switch


__all__ = ["NODE_TIMEOUT", "Conditions", "Failing", "SimulatedClock", "SimulatedNode", "Simulation", "simulate"]
