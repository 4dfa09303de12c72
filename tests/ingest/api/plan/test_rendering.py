import pytest

from asgard_assets.ingest.api.lists.pagination import Page
from asgard_assets.ingest.api.plan.rendering import Renderer, fingerprint, page_id, partition_values
from asgard_assets.ingest.api.source.templates import RenderError
from tests.ingest.api.sources import TICKETS, USAGE, source

DAY = partition_values("2026-10-05")


def endpoint(**changes):
    return source(USAGE, endpoint=USAGE["endpoint"] | changes)


def test_a_row_becomes_a_request():
    request, params = Renderer(source(USAGE), "http://api/").request("x", DAY, {"user_id": 3})
    assert request.url == "http://api/v1/users/3/usage?date=2026-10-05"
    assert params == {"date": "2026-10-05"}


@pytest.mark.parametrize("value", ["../admin", "a/b", "a?b", "a#b", "ä b"])
def test_a_value_cannot_leave_its_place_in_the_path(value):
    request, _ = Renderer(source(USAGE), "http://api").request("x", DAY, {"user_id": value})
    path = request.url.removeprefix("http://api/v1/users/").removesuffix("/usage?date=2026-10-05")
    assert not set("/?# ") & set(path)
    assert ".." not in path


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_value_that_servers_take_for_another_place_makes_no_request(value):
    with pytest.raises(RenderError, match="would ask for another resource") as told:
        Renderer(source(USAGE), "http://api").request("x", DAY, {"user_id": value})
    assert told.value.field == ("row", "user_id")


@pytest.mark.parametrize(
    ("path", "row"), [("/x{row.user_id}", ""), ("/{row.user_id}.json", "."), ("/x?q={row.user_id}", "")]
)
def test_a_part_of_a_place_may_be_empty_or_a_dot(path, row):
    request, _ = Renderer(endpoint(path=path), "http://api").request("x", DAY, {"user_id": row})
    assert request.url.startswith("http://api/")


@pytest.mark.parametrize("path", ["/{row.user_id}.", "/.{row.user_id}", "/a/{row.user_id}{row.user_id}/b"])
def test_nor_does_one_that_makes_such_a_place_with_its_neighbours(path):
    with pytest.raises(RenderError):
        Renderer(endpoint(path=path), "http://api").request("x", DAY, {"user_id": "."})


def test_only_what_changes_something_carries_an_idempotency_key():
    get, _ = Renderer(source(USAGE), "http://api").request("the-id", DAY, {"user_id": 1})
    post, _ = Renderer(endpoint(method="POST", body={"u": "{row.user_id}"}), "http://api").request(
        "the-id", DAY, {"user_id": 1}
    )
    assert "Idempotency-Key" not in get.headers
    assert post.headers["Idempotency-Key"] == "the-id"
    assert post.body == b'{"u": 1}'


def test_ids_depend_on_the_template_not_on_the_host_or_the_limits():
    same = source(USAGE, limits={"max_in_flight": 3})
    assert fingerprint(same) == fingerprint(source(USAGE))
    assert fingerprint(endpoint(path="/v2/{row.user_id}")) != fingerprint(source(USAGE))


def test_pages_have_ids_of_their_own():
    common = fingerprint(source(TICKETS))
    first, second = (page_id(common, "2026-10-05", Page(n, {"page": str(n + 1)})) for n in (0, 1))
    assert first != second
    assert first != page_id(common, "2026-10-06", Page(0, {"page": "1"}))
