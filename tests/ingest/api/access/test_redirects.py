import asyncio

import pytest

from asgard_assets.ingest.api.access.auth import Authenticator, Credentials, Fixed
from asgard_assets.ingest.api.access.redirects import BadRedirect, Redirecting
from asgard_assets.ingest.api.http.messages import Request, Response
from asgard_assets.ingest.api.source.secrets import Redactor, Secret

KNOWN = Credentials("header", "X-Key", Secret("canary-key"), (Secret("canary-key"),))
QUERY = Credentials("query", "key", Secret("canary-key"), (Secret("canary-key"),))


def follow(
    hops,
    request=None,
    most=5,
    alone=False,
    known=KNOWN,
    hosts=("other", "api:8443", "api.other"),
    home="https://api",
):
    """Send a request to https://api; `hops` maps addresses to (status, location). The requests on the wire."""
    sent = []

    async def wire(request):
        sent.append(request)
        status, *location = hops.get(request.url.partition("?key=")[0], (200,))
        return Response(status, {"location": location[0]} if location else {}, b"")

    async def run():
        auth = Authenticator(Fixed(known), "https://api", Redactor())
        request_ = request or Request("id", "GET", "https://api/a", {"Accept": "x", "Cookie": "c=1"})
        answer = await Redirecting(most, alone, hosts, home)(
            request_, lambda asked: auth.authorize(asked, wire)
        )
        return answer

    return asyncio.run(run()), sent


def test_a_redirect_on_the_same_origin_keeps_the_credentials():
    answer, sent = follow({"https://api/a": (302, "/b?x=1"), "https://api/b?x=1": (307, "c")})
    assert answer.status == 200
    assert [request.url for request in sent] == ["https://api/a", "https://api/b?x=1", "https://api/c"]
    assert all(request.headers["X-Key"] == "canary-key" for request in sent)


@pytest.mark.parametrize("known", [KNOWN, QUERY])
@pytest.mark.parametrize(
    "target",
    ["https://other/b", "https://api:8443/b", "//other/b", "https://api.other/b", "https://api@other/b"],
)
def test_credentials_are_left_behind_on_another_origin(target, known):
    _, sent = follow({"https://api/a": (302, target)}, known=known)
    assert "canary-key" in f"{sent[0]}"
    assert "canary-key" not in f"{sent[1]}"
    assert "Cookie" not in sent[1].headers
    assert sent[1].headers["Accept"] == "x"


def test_credentials_come_back_with_their_origin():
    hops = {"https://api/a": (302, "https://other/b"), "https://other/b": (302, "https://api/c")}
    _, sent = follow(hops)
    assert ["X-Key" in request.headers for request in sent] == [True, False, True]


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_becomes_a_get(status):
    post = Request("id", "POST", "https://api/a", {"Content-Type": "a/b", "Idempotency-Key": "id"}, b"{}")
    _, sent = follow({"https://api/a": (status, "/b")}, post)
    assert (sent[1].method, sent[1].body) == ("GET", None)
    assert set(sent[1].headers) == {"X-Key"}


def test_a_post_stays_one_where_the_status_says_so_and_its_body_at_home():
    post = Request("id", "POST", "https://api/a", {}, b"{}")
    _, sent = follow({"https://api/a": (308, "/b")}, post)
    assert (sent[1].method, sent[1].body) == ("POST", b"{}")
    with pytest.raises(BadRedirect, match="carry the body to another origin"):
        follow({"https://api/a": (307, "https://other/b")}, post)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("file:///etc/passwd", "leads to file: address"),
        ("javascript:alert(1)", "leads to javascript: address"),
        ("http://api/b", "from https to http"),
        ("https://[::1/b", "no address"),
        ("https://api:99999/b", "no address"),
        ("/b c", "not encoded"),
        ("/b\x00c", "not encoded"),
        ("/ü", "not encoded"),
    ],
)
def test_where_nobody_should_go_nobody_goes(target, message):
    with pytest.raises(BadRedirect, match=message):
        follow({"https://api/a": (302, target)})


def test_a_loop_ends():
    with pytest.raises(BadRedirect, match="more than 5 redirects"):
        follow({"https://api/a": (302, "/b"), "https://api/b": (302, "/a")})


def test_a_client_certificate_is_shown_to_nobody_else():
    with pytest.raises(BadRedirect, match="client certificate"):
        follow({"https://api/a": (302, "https://other/b")}, alone=True)


@pytest.mark.parametrize("hop", [(304,), (302,), (300, "/b")])
def test_what_is_no_redirect_is_an_answer(hop):
    answer, sent = follow({"https://api/a": hop})
    assert (answer.status, len(sent)) == (hop[0], 1)
    assert follow({"https://api/a": (302, "/b")}, most=0)[0].status == 302


INSIDE = ["169.254.169.254", "127.0.0.1:9", "127.1", "2130706433", "0x7f.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "10.0.0.7", "localhost", "a.localhost", "metadata.google.internal", "192.168.1.1", "0.0.0.0"]  # fmt: skip


@pytest.mark.parametrize("place", [*INSIDE, "other", "api.other", "api:8443", "user@other"])
@pytest.mark.parametrize("hosts", [(), ("third",), ("*.third",)])
def test_another_origin_is_not_followed_unless_the_yaml_names_it(place, hosts):
    with pytest.raises(BadRedirect, match="another origin .*endpoint.leads_to"):
        follow(
            {"http://api/a": (302, f"http://{place}/b")},
            Request("id", "GET", "http://api/a"),
            hosts=hosts,
            home="http://api",
        )


@pytest.mark.parametrize("place", INSIDE)
def test_a_pattern_names_no_machine_of_one_s_own_network(place):
    with pytest.raises(BadRedirect, match="another origin"):
        follow(
            {"http://api/a": (302, f"http://{place}/b")},
            Request("id", "GET", "http://api/a"),
            hosts=("*",),
            home="http://api",
        )


@pytest.mark.parametrize("place", ["other", "x.other", "127.0.0.1:9"])
def test_a_host_that_the_yaml_names_is(place):
    get = Request("id", "GET", "http://api/a")
    _, sent = follow(
        {"http://api/a": (302, f"http://{place}/b")},
        get,
        hosts=("other", "*.other", "127.0.0.1:9"),
        home="http://api",
    )
    assert sent[1].url == f"http://{place}/b"


def test_the_same_host_over_tls_is_followed():
    _, sent = follow(
        {"http://api/a": (301, "https://api/a")},
        Request("id", "GET", "http://api/a"),
        hosts=(),
        home="http://api",
    )
    assert [request.url for request in sent] == ["http://api/a", "https://api/a"]


def test_an_address_of_a_file_on_another_origin_is_asked_for_only_if_named():
    file = Request("id", "GET", "https://files/x.csv")
    assert follow({}, file, hosts=("files",))[1] == [file]
    with pytest.raises(BadRedirect, match="an answer leads to another origin"):
        follow({}, file, hosts=())


@pytest.mark.parametrize("header", ["PRIVATE-TOKEN", "X-Shopify-Access-Token", "X-Whatever", "X-Vault-Token"])
def test_no_header_of_ours_goes_to_another_origin(header):
    get = Request("id", "GET", "https://api/a", {header: "canary", "Accept": "x"})
    _, sent = follow({"https://api/a": (302, "https://other/b")}, get)
    assert sent[0].headers[header] == "canary" and sent[1].headers == {"Accept": "x"}
