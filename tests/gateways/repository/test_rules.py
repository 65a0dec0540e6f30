"""What a gateway repository may be asked for, as git-annex 10.20261026 was seen to decide it, case by case."""

from __future__ import annotations

import pytest

from p2pannex.gateways.repository.rules import NotServed, Rules

OWN, N1, N2, FAR, OTHER = "own", "n1-uuid", "n2-uuid", "far-uuid", "other-gateway"
FAM = "ac5c11f3-d741-8fa9-adac-bb580e9347d0"

CONFIG = {
    "annex.cluster.fam": FAM,
    "remote.n1.url": "/srv/n1",
    "remote.n1.annex-uuid": N1,
    "remote.n1.annex-cluster-node": "fam",
    "remote.n2.url": "ssh://host/srv/n2",
    "remote.n2.annex-uuid": N2,
    "remote.n2.annex-proxy": "true",
    "remote.B.url": "ssh://b/srv/annex",
    "remote.B.annex-uuid": OTHER,
    "remote.B.annex-cluster-gateway": FAM,
}
PROXIES = {OWN: {FAM: "fam", N1: "n1", N2: "n2", FAR: "B-far"}, OTHER: {FAM: "fam", FAR: "far", N1: "A-n1"}}
CLUSTERS: dict[str, tuple[str, ...]] = {FAM: (N1, FAR)}


def rules(
    proxies: dict[str, dict[str, str]] = PROXIES,
    clusters: dict[str, tuple[str, ...]] = CLUSTERS,
    /,
    **changes: str | None,
) -> Rules:
    """The rules of CONFIG with changes: ``n1_annex_proxy="true"`` is remote.n1.annex-proxy; None takes it away."""
    config = dict(CONFIG)
    for name, value in changes.items():
        remote, _, variable = name.partition("_")
        setting = "annex.cluster.fam" if name == "fam" else f"remote.{remote}.{variable.replace('_', '-')}"
        if value is None:
            del config[setting]
        else:
            config[setting] = value
    return Rules(OWN, config, proxies, clusters)


def nodes(found: Rules) -> list[str]:
    return [route.name for route in found.nodes(FAM)]


def test_a_cluster_its_nodes_and_what_is_proxied() -> None:
    found = rules()
    assert found.is_cluster(FAM)
    assert nodes(found) == ["n1", "B-far"]
    assert found.members(FAM) == {N1, FAR}
    assert found.node(N1).gateway is None
    assert found.node(N2).remote.name == "n2"
    assert found.node(FAR).gateway == OTHER
    assert not found.is_cluster(N1)


@pytest.mark.parametrize(
    ("uuid", "found", "problem"),
    [
        ("unknown", rules(), "expected repository UUID unknown but found UUID own"),
        (N1, rules(n1_annex_cluster_node=None), "not configured to proxy for repository n1"),
        (N1, rules(n1_annex_cluster_node="nofam"), "not configured to proxy for repository n1"),
        (N1, rules(fam=None), "not configured to proxy for repository n1"),
        (N2, rules(n2_annex_proxy="false"), "not configured to proxy for repository n2"),
        (N2, rules(n2_annex_uuid=None), "not configured to proxy for repository n2"),
        (N2, rules({OWN: {N1: "n1"}}), "not configured to proxy for repository n2"),
        (FAR, rules(B_annex_cluster_gateway=None), "not configured to proxy for repository B-far"),
        (FAR, rules({OWN: {FAR: "B-far"}}), "not configured to proxy for repository B-far"),
        (OTHER, rules(), "not configured to proxy for repository B"),
        (FAM, rules(fam=None), "not configured to be a gateway of the cluster fam"),
        (N1, rules({}), "not configured to proxy for repository n1"),
    ],
)
def test_both_the_branch_and_the_git_config_have_to_consent(uuid: str, found: Rules, problem: str) -> None:
    assert not found.is_cluster(uuid)
    with pytest.raises(NotServed) as caught:
        found.node(uuid)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    "changes",
    [{"n1_annex_proxy": "true"}, {"n1_annex_ignore": "true"}, {"n1_annex_cluster_node": "another fam"}],
)
def test_what_makes_no_difference(changes: dict[str, str]) -> None:
    assert rules(**changes).node(N1).name == "n1"
    assert nodes(rules(**changes)) == ["n1", "B-far"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (rules(n1_annex_cluster_node=None, n1_annex_proxy="true"), ["B-far"]),  # to be had alone, but no node any more
        (rules(PROXIES, {FAM: (FAR,)}), ["B-far"]),
        (rules(PROXIES, {FAM: (N1, N2, FAR)}), ["n1", "B-far"]),  # n2 is proxied, but not for the cluster
        (rules({OWN: {FAM: "fam", N1: "n1"}, OTHER: {FAR: "far"}}), ["n1"]),
        (rules(B_annex_cluster_gateway="another"), ["n1"]),
    ],
)
def test_nodes_are_those_that_all_three_name(found: Rules, expected: list[str]) -> None:
    assert nodes(found) == expected


def test_all_that_another_gateway_has() -> None:
    whole = rules().whole(FAM, OTHER)
    assert whole is not None
    assert (whole.uuid, whole.gateway) == (FAM, OTHER)
    # What the other reaches by itself would be asked twice.
    assert rules({**PROXIES, OTHER: {FAM: "fam", FAR: "far", N1: "its-own-n1x"}}).whole(FAM, OTHER) is None
    assert rules({**PROXIES, OTHER: {FAR: "far"}}).whole(FAM, OTHER) is None
    assert rules().whole(FAM, "unknown") is None


def test_gateways_that_would_ask_each_other_in_a_circle() -> None:
    """B has n1 through us. That we do not have it any more is not in its log yet."""
    assert PROXIES[OTHER][N1] == "A-n1"
    gone = rules(n1_annex_uuid=None)
    assert nodes(gone) == ["B-far"]
    with pytest.raises(NotServed):
        gone.node(N1)
    for client, expected in (("unknown", ["n1", "B-far"]), (OTHER, ["n1"])):
        assert nodes(Rules(OWN, CONFIG, PROXIES, CLUSTERS, client)) == expected


def test_a_node_of_one_cluster_is_no_node_of_another() -> None:
    """Both are served here. For the second one, the git config names no node."""
    two = "acaaaaaa-d741-8fa9-adac-bb580e9347d0"
    config = {**CONFIG, "annex.cluster.two": two}
    proxies = {**PROXIES, OWN: {**PROXIES[OWN], two: "two"}, OTHER: {**PROXIES[OTHER], two: "two"}}
    found = Rules(OWN, config, proxies, {FAM: (N1, FAR), two: (N1, FAR)})
    assert found.is_cluster(two)
    assert nodes(found) == ["n1", "B-far"]
    assert found.nodes(two) == []
    assert found.whole(two, OTHER) is None


@pytest.mark.parametrize(
    "found",
    [
        rules({OWN: {N1: "n1"}}),
        rules(PROXIES, {}),
        rules(fam=None),
    ],
    ids=["not in proxy.log", "not in cluster.log", "not in the git config"],
)
def test_a_cluster_that_one_of_three_does_not_name_is_not_served(found: Rules) -> None:
    assert not found.is_cluster(FAM)


def test_where_a_node_has_a_direct_route_only_that_counts() -> None:
    """Else it would get each request twice."""
    assert nodes(rules({**PROXIES, OTHER: {FAM: "fam", FAR: "far", N1: "its-own-n1x"}})) == ["n1", "B-far"]
