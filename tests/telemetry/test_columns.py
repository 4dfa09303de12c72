"""The way of a column: by SQL where it is known, by name, into the record of an API, and no further than is known."""

from __future__ import annotations

from asgard_assets.telemetry.lineage.columns import Edge, TableColumns, downstream, upstream

TABLES = {
    one.table: one
    for one in (
        TableColumns("bronze/tickets", ("payload", "finished_at", "ds"), reads="https://api/v1/tickets"),
        TableColumns("silver/tickets", ("severity", "ds"), ("bronze/tickets",)),
        TableColumns("silver/people", ("id",), ("bronze/people",)),
        TableColumns("bronze/people", ("user",)),
        TableColumns(
            "gold/metrics",
            ("urgent", "ds"),
            ("silver/tickets",),
            {"urgent": [("silver/tickets", "severity")]},
        ),
        TableColumns("features/support", ("urgent",), ("gold/metrics",)),
        TableColumns("model/training", ("support__urgent",), ("features/support",)),
    )
}


def ways(edges: list[Edge]) -> list[tuple[str, str, str]]:
    return [(edge.of_table, edge.of_column, edge.how) for edge in edges]


def test_a_model_feature_is_followed_back_to_the_field_of_the_api():
    assert ways(upstream(TABLES, "model/training", "support__urgent")) == [
        ("features/support", "urgent", "same name"),
        ("gold/metrics", "urgent", "same name"),
        ("silver/tickets", "severity", "query"),
        ("bronze/tickets", "payload.severity", "in the record"),
        ("https://api/v1/tickets", "severity", "same name"),
    ]


def test_a_field_of_a_record_is_followed_on_to_the_model():
    found = downstream(TABLES, "bronze/tickets", "payload.severity")
    assert [(edge.table, edge.column) for edge in found] == [
        ("silver/tickets", "severity"),
        ("gold/metrics", "urgent"),
        ("features/support", "urgent"),
        ("model/training", "support__urgent"),
    ]
    of_all = downstream(TABLES, "bronze/tickets", "payload")
    assert [edge.column for edge in of_all] == [edge.column for edge in found]


def test_where_no_column_is_known_only_the_table_is_named():
    assert ways(upstream(TABLES, "silver/people", "id")) == [("bronze/people", "*", "table")]
    assert upstream(TABLES, "bronze/tickets", "ds") == [], "our own columns come from no API"


def test_tables_that_read_each_other_end():
    ring = {
        "a/a": TableColumns("a/a", ("x",), ("b/b",)),
        "b/b": TableColumns("b/b", ("x",), ("a/a",)),
    }
    assert [(e.of_table, e.depth) for e in upstream(ring, "a/a", "x")] == [("b/b", 0), ("a/a", 1)]
