import pytest

from asgard_assets.ingest.api.source.templates import RenderError, Template, fields_of, render_json

VALUES = {"row": {"id": 7, "on": True, "none": None}, "partition": {"key": "2026-10-05"}}


def test_a_template_fills_rows_and_partitions():
    assert Template.parse("u/{row.id}/{partition.key}/{row.on}").render(VALUES) == "u/7/2026-10-05/true"


def test_braces_are_written_twice():
    assert Template.parse("{{{row.id}}}").render(VALUES) == "{7}"


@pytest.mark.parametrize("text", ["{rwo.id}", "{row.}", "{partition.}", "{row.id", "}", "{}"])
def test_what_is_no_placeholder_is_refused(text):
    with pytest.raises(ValueError, match="brace|placeholder"):
        Template.parse(text)


def test_a_null_fills_nothing():
    with pytest.raises(RenderError, match=r"row\.none is null"):
        Template.parse("{row.none}").render(VALUES)


def test_json_keeps_the_type_of_a_value_that_stands_alone():
    body = {"id": "{row.id}", "text": "n{row.id}", "list": ["{row.on}", 1, None]}
    assert render_json(body, VALUES) == {"id": 7, "text": "n7", "list": [True, 1, None]}
    assert fields_of(body) == {("row", "id"), ("row", "on")}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_fills_nothing(value):
    with pytest.raises(RenderError, match=r"row\.id is (nan|inf): no request"):
        render_json({"id": "{row.id}"}, {"row": {"id": value}})
