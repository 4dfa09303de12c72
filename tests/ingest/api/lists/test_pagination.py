import pytest
from pydantic import TypeAdapter

from asgard_assets.ingest.api.lists.pagination import MalformedPage, Page, at, first, following, next_link
from asgard_assets.ingest.api.source.forms import Pagination

URL = "https://api.test/v1/things?x=1"


def pagination(**fields):
    return TypeAdapter(Pagination).validate_python(fields)


def after(how, page, body=None, headers=None, items=2):
    return following(how, page, URL, headers or {}, body, items)


def test_pages_are_counted_up_to_the_page_count():
    how = pagination(type="page", size=2, pages="meta.pages")
    page = first(how)
    assert page.query == {"page": "1", "per_page": "2"}
    page = after(how, page, {"meta": {"pages": 2}})
    assert page.query["page"] == "2"
    assert after(how, page, {"meta": {"pages": 2}}) is None


def test_without_a_page_count_a_short_page_is_the_last():
    how = pagination(type="page", size=2)
    assert after(how, first(how), items=2) is not None
    assert after(how, first(how), items=1) is None


def test_an_offset_grows_by_what_came():
    how = pagination(type="offset", size=2)
    page = after(how, first(how), items=2)
    assert page.query == {"offset": "2", "limit": "2"}
    assert after(how, page, items=0) is None


def test_a_cursor_is_followed_until_null():
    how = pagination(type="cursor", cursor="meta.next")
    assert first(how).query == {}
    assert after(how, first(how), {"meta": {"next": "abc"}}).query == {"cursor": "abc"}
    assert after(how, first(how), {"meta": {"next": None}}) is None
    assert after(how, first(how), {}) is None


def test_a_next_url_may_be_relative():
    how = pagination(type="next_url")
    assert after(how, Page(), {"next": "/v1/things?page=2"}).url == "https://api.test/v1/things?page=2"


def test_a_link_header_is_read():
    how = pagination(type="link")
    header = '<https://api.test/a>; rel="prev", <https://api.test/b?p=2>; rel="next"'
    assert after(how, Page(), headers={"link": header}).url == "https://api.test/b?p=2"
    assert next_link('<x>; title="next"') is None
    assert after(how, Page()) is None


def test_credentials_do_not_follow_a_link_to_another_origin():
    with pytest.raises(MalformedPage, match="another origin"):
        after(pagination(type="next_url"), Page(), {"next": "https://evil.test/x"})


def test_a_path_that_is_not_there_is_none():
    assert at({"a": [1]}, "a.b.c") is None
    assert at([1], "") == [1]


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<a>; title="one, two"; rel="next"', "a"),
        ('<a>; rel=next; title="x"', "a"),
        ('<a>;rel="prev",<b>;rel="last next"', "b"),
        ('<a,b;c>; rel="next"', "a,b;c"),
        ('<a>; title="\\"; rel=\\"next\\""; rel="prev", <b>; REL=Next', "b"),
        ('<a>; rel="next-archive"', None),
        ('<a>; rel="nextpage"', None),
        ('<a>; rel="', None),
        ("<a", None),
    ],
)
def test_a_link_header_is_read_with_its_quotes(header, target):
    assert next_link(header) == target
