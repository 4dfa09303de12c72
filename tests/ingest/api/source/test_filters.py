import pytest

from asgard_assets.ingest.api.plan.rendering import Renderer, partition_values
from asgard_assets.ingest.api.source.filters import DESCRIPTIONS, KNOWN
from asgard_assets.ingest.api.source.templates import RenderError, Template
from tests.ingest.api.sources import USAGE, source

DAY = partition_values("2026-10-05")


def rendered(template: str, value):
    return Template.parse(template).render({"row": {"x": value}, "partition": DAY})


@pytest.mark.parametrize(
    ("template", "value", "expected"),
    [
        ("{row.x|lower}", "Ä B", "ä b"),
        ("{row.x|trim|upper}", "  ab ", "AB"),
        ("{row.x|date:%d.%m.%Y}", "2026-10-05", "05.10.2026"),
        ("{row.x|date:%Y-%m-%dT%H:%M:%S%z}", "2026-10-05 12:30:00+02", "2026-10-05T12:30:00+0200"),
        ("{row.x|parse_date:%d.%m.%Y|date:%Y%m%d}", "05.10.2026", "20261005"),
        ("{row.x|epoch}", "2026-10-05", "1791158400"),
        ("{row.x|epoch_ms}", "2026-10-05T00:00:01Z", "1791158401000"),
        ("{row.x|default:none}", None, "none"),
        ("{row.x|default:none}", "a", "a"),
        ("{row.x|json}", {"a": [1, None]}, '{"a":[1,null]}'),
        ("{row.x|urlencode}", "a b/ü", "a%20b%2F%C3%BC"),
        ("{row.x|int}", "7", "7"),
        ("{row.x|int}", 7.0, "7"),
        ("{row.x|sha256}", "a", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
        ("{partition.start|epoch}", None, "1791158400"),
    ],
)
def test_a_value_is_transformed_on_its_way(template, value, expected):
    assert rendered(template, value) == expected


@pytest.mark.parametrize(
    ("template", "value", "said"),
    [
        ("{row.x|date:%Y}", "soon", r"row\.x cannot be transformed by date:%Y"),
        ("{row.x|int}", "7.5", "no whole number"),
        ("{row.x|int}", "inf", "cannot be transformed"),
        ("{row.x|lower}", None, r"row\.x is null"),
    ],
)
def test_what_cannot_be_transformed_is_an_error_of_the_row(template, value, said):
    with pytest.raises(RenderError, match=said):
        rendered(template, value)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{row.x|lowr}", "unknown transform 'lowr'; there are .*lower"),
        ("{row.x|lower:a}", "takes no argument"),
        ("{row.x|date}", "needs an argument, such as date:%Y-%m-%d"),
    ],
)
def test_an_unknown_transform_is_refused_when_the_source_is_read(template, said):
    with pytest.raises(ValueError, match=said):
        Template.parse(template)


def test_every_transform_is_described():
    assert set(KNOWN) == set(DESCRIPTIONS)


def mapped(**query):
    rows = {"key": {"user_id": "bigint"}, "columns": ["email", "day", "note"], "required": ["email"]}
    return source(
        USAGE,
        form={"type": "row", "rows": rows},
        endpoint={"base_url": "http://api", "path": "/u/{row.user_id}", "query": query},
    )


def test_a_column_can_be_mapped_to_a_parameter_in_the_long_way():
    config = mapped(
        mail={"column": "email", "transform": ["trim", "lower"]},
        day={"column": "day", "transform": "date:%Y%m%d", "default": "2026-01-01"},
        note={"column": "note", "optional": True},
    )
    assert config == mapped(
        mail="{row.email|trim|lower}",
        day="{row.day|default:2026-01-01|date:%Y%m%d}",
        note="{row.note|optional}",
    )
    row = {"user_id": 1, "email": " A@B.c", "day": None, "note": None}
    request, params = Renderer(config, "http://api").request("x", DAY, row)
    assert params == {"mail": "a@b.c", "day": "20260101"}
    assert request.url == "http://api/u/1?mail=a%40b.c&day=20260101"


def test_a_row_without_a_required_column_is_a_failed_row_with_its_reason():
    for nothing in (None, ""):
        with pytest.raises(RenderError, match=r"the row has no email, which form\.rows\.required asks for"):
            Renderer(mapped(), "http://api").request("x", DAY, {"user_id": 1, "email": nothing})


def test_a_wrong_mapping_names_what_is_wrong():
    with pytest.raises(ValueError, match="endpoint.query.mail") as caught:
        mapped(mail={"column": "email", "transfrom": ["lower"]})
    assert caught.value.errors()[0]["ctx"]["error"].at == "transfrom"
