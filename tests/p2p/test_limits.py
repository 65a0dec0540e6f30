"""The numbers of a server's limits."""

from __future__ import annotations

import pytest

from p2pannex.p2p.limits import Limits, Share, connections_for, descriptors_for


def test_the_defaults_are_those_for_a_thousand_connections() -> None:
    assert Limits() == Limits.for_connections(1000)
    assert Limits().per_token == Share(250, locks=125, uploads=125, lost_locks=500)
    assert Limits().per_address == Share(500, locks=250, uploads=250, lost_locks=500)


@pytest.mark.parametrize("connections", [2, 3, 10, 50, 99, 100, 5000])
def test_one_token_never_has_more_than_half_of_a_server(connections: int) -> None:
    limits = Limits.for_connections(connections)
    assert 0 < limits.per_token.connections <= connections // 2
    assert limits.per_token.connections <= limits.per_address.connections <= max(1, connections // 2)
    assert 0 < limits.per_token.locks <= limits.per_token.connections


def test_what_the_owner_sets() -> None:
    limits = Limits.for_connections(100, 80, 90)
    assert (limits.connections, limits.per_token, limits.per_address) == (100, Share(80, 40, 40), Share(90, 45, 45))


@pytest.mark.parametrize("connections", [1, 2, 1000])
def test_descriptors_and_connections_agree(connections: int) -> None:
    assert connections_for(descriptors_for(connections)) == connections
    assert connections_for(descriptors_for(connections) + 7) == connections
    assert connections_for(descriptors_for(connections) - 1) == max(1, connections - 1)
