"""SQL that somebody sends: what may run, and what it is rewritten to."""

from __future__ import annotations

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.transforms.statements import Script, Statement, parse


def test_the_documents_query_reads_a_stream_by_its_name():
    found = parse("SELECT customer_id, SUM(amount) as total_amount FROM source_data GROUP BY customer_id")
    assert (found.names, found.tables) == (("source_data",), ())
    assert found.statements[0].view == ""


def test_tables_of_the_lake_become_views_with_or_without_the_catalog():
    sql = "select c.x, orders.y from iceberg.silver.customers c join bronze.orders on c.id = orders.id"
    found = parse(sql)
    assert found.tables == ("silver/customers", "bronze/orders")
    assert "FROM `silver__customers` AS `c`" in found.statements[0].sql
    assert "JOIN `bronze__orders` AS `orders`" in found.statements[0].sql


def test_temporary_views_come_first_and_are_not_read_from_outside():
    found = parse("create or replace temp view Paid as select * from orders; select count(*) as n from paid;")
    assert found == Script(
        (
            Statement("SELECT * FROM `orders`", "paid"),
            Statement("SELECT COUNT(*) AS `n` FROM `paid`"),
        ),
        ("orders",),
    )


def test_names_of_a_with_clause_are_its_own():
    assert parse("with q as (select 1 as n) select * from q").names == ()


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("drop table silver.usage", "DROP is no query"),
        ("insert into silver.usage select 1", "INSERT is no query"),
        ("with q as (insert into x select 1) select * from q", "INSERT is not possible"),
        ("set spark.sql.variable.substitute = true; select 1", "SET stands before"),
        ("explain select 1", "is no query"),
        ("cache table x", "CACHE is no query"),
        ("create table x as select 1; select 1", "CREATE stands before"),
        ("create view x as select 1; select 1", "CREATE stands before"),
        ("create temporary function f as 'java.lang.Runtime'; select f(1)", "CREATE stands before"),
        ("create temp view x as select 1", "CREATE is no query"),
        ("create temp view silver.x as select 1; select 1", "needs one plain name"),
        ("select 1; select 2", "SELECT stands before"),
        ("select * from parquet.`/etc/passwd`", "is no table"),
        ("select * from json.`s3://bucket/x`", "is no table"),
        ("create temp view v as select * from csv.`/etc/passwd`; select 1", "is no table"),
        ("select * from a.b.c.d", "is no table"),
        ("select * from `../x`", "is no table"),
        ("select * from range(10)", "is no table"),
        ("select * from identifier('parquet.`/etc/passwd`')", "identifier"),
        ("select reflect('java.lang.Runtime', 'getRuntime')", "function reflect"),
        ("select `Java_Method`('java.lang.System', 'exit', 1)", "java_method"),
        ("select try_reflect('a', 'b')", "function try_reflect"),
        ("select system.builtin.reflect('a', 'b')", "function reflect"),
        ("select transform(array(1), x -> reflect('a', 'b'))", "function reflect"),
        ("select transform(a) using 'cat /etc/passwd' as (b) from t", "QUERYTRANSFORM"),
        ("select ${env:AWS_SECRET_ACCESS_KEY}", "variables are not filled in"),
        ("select :name", "PLACEHOLDER"),
        ("select ?", "PLACEHOLDER"),
        ("", "empty"),
        (" ; -- nothing", "empty"),
        ("select from where", "cannot be parsed"),
        ("select (((((", "cannot be parsed"),
        ("select '", "cannot be parsed"),
    ],
)
def test_anything_but_reading_is_refused(sql: str, why: str):
    with pytest.raises(ConfigError, match=why.replace("(", r"\(")):
        parse(sql)


def test_sql_that_is_too_long_or_too_deep_is_refused():
    with pytest.raises(ConfigError, match="characters"):
        parse("select " + "1," * 60_000 + "1")
    with pytest.raises(ConfigError, match="cannot be parsed"):
        parse("select " + "(" * 20_000 + "1" + ")" * 20_000)
