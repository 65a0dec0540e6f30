"""Whatever subset of nodes errs, hangs or dies at whatever byte: PUT ends in time, and names where the content is."""

from __future__ import annotations

import trio

from p2pannex.cluster.node import NODE_TIMEOUT
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.service import AlreadyHave, NotStored, Stored
from p2pannex.testing.samples import key_of, sample, send_pieces
from p2pannex.testing.simulator import Failing, Simulation, simulate
from tests.cluster.simulated_client import seen_by_a_client


async def storing(world: Simulation) -> str:
    """A PUT into a cluster of failing nodes; in a word what came of it."""
    random = world.random
    size = random.choice([0, 1, random.randint(2, 300), random.randint(1000, 300_000)])
    content = sample(size, world.seed)
    key = key_of(content)
    for number in range(random.randint(1, 5)):
        node = world.node(str(number), latency=random.uniform(0, 0.1), seek=random.uniform(0, 0.1))
        if random.random() < 0.6:
            node.fail(random.choice(list(Failing)), random.choice([-1, 0, size, random.randint(0, size)]))
        before = random.random()
        if before < 0.1:
            node.store.contents[key] = content
            node.recover()  # who has it already and cannot be asked is not known to have it
        elif before < 0.4:
            junk = random.random() < 0.3
            kept = random.randbytes(random.randint(0, size + 10)) if junk else content[: random.randint(0, size)]
            node.store.partials[key] = bytearray(kept)
    async with seen_by_a_client(world, through_protocol=random.random() < 0.5) as service:
        start = trio.current_time()
        outcome: Stored | NotStored | AlreadyHave | Exception
        try:
            upload = await service.put(key)
            if isinstance(upload, AlreadyHave):
                outcome = upload
            else:
                async with upload:
                    await upload.begin(max(size - upload.offset, 0))
                    await send_pieces(upload, content[upload.offset :], random.randint(1, 40) * (size // 100 + 1))
                    outcome = await upload.finish(True)
        except (RemoteError, ConnectionLost) as error:
            outcome = error
        end = trio.current_time()
        assert end - start <= NODE_TIMEOUT + 1
        holds = {node.uuid for node in world.nodes if node.store.contents.get(key) == content}
        world.note("client", repr(outcome))
        named = set() if isinstance(outcome, Exception) else set(outcome.uuids)
        assert named == holds
        assert holds or not isinstance(outcome, Stored | AlreadyHave)
        assert not any(node.transfers for node in getattr(service, "nodes", ()))
    return type(outcome).__name__


def test_put_ends_in_time_and_names_exactly_where_the_content_is() -> None:
    outcomes = [simulate(storing, seed) for seed in range(400)]
    assert {"Stored", "NotStored", "AlreadyHave", "RemoteError"} <= set(outcomes), "all of them are tried"


def test_an_answer_that_is_lost_names_too_few_never_too_many() -> None:
    """A node that stores and dies before it replies has the content, but is not named: the cluster cannot know."""

    async def scenario(world: Simulation) -> None:
        a, b = world.node("a"), world.node("b", loses_answer=True)
        content = sample(1000)
        key = key_of(content)
        b.fail(Failing.DIE, len(content))
        async with world.cluster() as cluster:
            upload = await cluster.put(key)
            assert not isinstance(upload, AlreadyHave)
            async with upload:
                await upload.begin(len(content))
                await upload.send_all(memoryview(content))
                assert await upload.finish(True) == Stored(frozenset({a.uuid}))
        assert b.store.contents[key] == content

    simulate(scenario)
