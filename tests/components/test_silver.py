"""Silver through Dagster: ranges, rejects, history, blocking checks, and a table by adding a file."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from asgard_assets.components.silver import silver_asset, tables_in
from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from asgard_assets.windows import days_between
from tests.components.bronze_frames import put, put_usage, usage_body

DAYS = days_between("2026-10-05", "2026-10-07")
NEEDED = ("lake", "spark", "step_launcher")
USER = ("id", "name", "email", "created_at", "updated_at")
CONTACT = ("user_id", "email", "plan", "country", "updated_at")
INVOICE = ("invoice_id", "user_id", "amount", "currency", "issued_at", "due_at", "paid")


def table(name: str):
    (found,) = tables_in(importlib.import_module(f"asgard_assets.defs.silver.{name}"))
    return found


@pytest.fixture(scope="module", autouse=True)
def few_rows(spark) -> Iterator[None]:
    """Compiling each query takes longer than running it on ten rows."""
    small = {
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.shuffle.partitions": "1",
    }
    before = {name: spark.conf.get(name) for name in small}
    for name, value in small.items():
        spark.conf.set(name, value)
    yield
    for name, value in before.items():
        spark.conf.set(name, value)


@pytest.fixture
def run(lake: Lake, spark):
    """Materialize a Silver table for a range of days, as `dagster asset materialize` does."""
    with dg.DagsterInstance.ephemeral() as instance:

        def materialize(
            name: str, days: Sequence[str] = DAYS, succeeds: bool = True
        ) -> dg.ExecuteInProcessResult:
            tags = {
                "dagster/asset_partition_range_start": days[0],
                "dagster/asset_partition_range_end": days[-1],
            }
            result = dg.materialize(
                [silver_asset(table(name))],
                resources={
                    "lake": LakeResource(root=lake.root),
                    "spark": dg.ResourceDefinition.hardcoded_resource(_Session(spark)),
                    "step_launcher": dg.ResourceDefinition.none_resource(),
                },
                partition_key=days[0] if len(days) == 1 else None,
                tags={} if len(days) == 1 else tags,
                instance=instance,
                raise_on_error=False,
            )
            assert result.success is succeeds
            return result

        materialize.instance = instance  # type: ignore[attr-defined]
        yield materialize


class _Session:
    def __init__(self, session: Any) -> None:
        self.session = session


def rows(lake: Lake, query: str) -> list[tuple[Any, ...]]:
    with lake.connect() as connection:
        return connection.sql(query).fetchall()


def fingerprint(lake: Lake, table: str) -> str:
    return hashlib.sha256(repr(rows(lake, f"select * from {table} order by all")).encode()).hexdigest()


def recorded(result: dg.ExecuteInProcessResult, asset: str) -> dict[str | None, Any]:
    """Metadata of an asset's materializations, by partition."""
    found = (e.step_materialization_data.materialization for e in result.get_asset_materialization_events())
    return {m.partition: m.metadata for m in found if m.asset_key.to_user_string() == asset}


def message(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = result.get_step_failure_events()
    error = failure.step_failure_data.error
    assert error is not None
    return f"{error} {error.cause}"


def test_a_range_is_one_run_with_counts_rejects_and_reasons_by_day(lake: Lake, run):
    put_usage(
        lake,
        {
            DAYS[0]: [usage_body(1, DAYS[0]), None, usage_body(3, DAYS[0], minutes="n/a")],
            DAYS[1]: [usage_body(1, DAYS[1]), usage_body(2, DAYS[1], sessions=None), "no json"],
            DAYS[2]: [],
        },
    )
    result = run("usage")
    assert rows(lake, "select customer_id, usage_date, minutes, ds from silver.usage order by ds") == [
        (1, date.fromisoformat(day), 41.5, day) for day in DAYS[:2]
    ]
    reasons = rows(lake, "select ds, reason from rejected.usage order by all")
    assert reasons == [
        (DAYS[0], "minutes is not a number: n/a"),
        (DAYS[1], "sessions is missing"),
        (DAYS[1], "user_id is missing"),
    ]
    assert lake.epochs("silver", "usage", DAYS) == dict.fromkeys(DAYS, 1)  # the empty day too
    assert (lake.version("silver", "usage"), lake.version("rejected", "usage")) == (1, 1)
    events = recorded(result, "silver/usage")
    assert {d: m["dagster/partition_row_count"].value for d, m in events.items()} == dict(
        zip(DAYS, (1, 1, 0), strict=True)
    )
    refused = {
        d: m["dagster/partition_row_count"].value for d, m in recorded(result, "rejected/usage").items()
    }
    assert refused == dict(zip(DAYS, (1, 2, 0), strict=True))
    assert {d: (m["rows_read"].value, m["rejected_rows"].value) for d, m in events.items()} == {
        DAYS[0]: (3, 1),
        DAYS[1]: (3, 2),
        DAYS[2]: (0, 0),
    }
    assert "minutes is not a number: n/a" in events[DAYS[0]]["rejected_sample"].value
    checks = {c.check_name: c for c in result.get_asset_check_evaluations()}
    assert checks["key_is_unique"].passed and checks["usage_is_plausible"].passed
    assert (
        not checks["rejected_rate"].passed and checks["rejected_rate"].severity == dg.AssetCheckSeverity.WARN
    )


@pytest.mark.slow
def test_a_column_that_appears_on_the_second_day_is_null_before_it(lake: Lake, run):
    row = dict(zip(INVOICE, (1, 7, "29.00", "EUR", DAYS[0], "2026-10-19", "true"), strict=True))
    put(lake, "invoices", {DAYS[0]: [row, row, {**row, "amount": "12,5O"}]}, INVOICE)
    run("invoices", DAYS[:1])
    put(lake, "invoices", {DAYS[1]: [{**row, "discount": "2.9"}]}, (*INVOICE, "discount"))
    run("invoices", DAYS[1:2])
    found = rows(
        lake, "select invoice_id, amount::varchar, discount, paid, ds from silver.invoices order by ds"
    )
    assert found == [(1, "29.00", None, True, DAYS[0]), (1, "29.00", 2.9, True, DAYS[1])]
    rejected = Counter(r for (r,) in rows(lake, "select reason from rejected.invoices"))
    assert rejected == {"duplicate": 1, "amount is not a number: 12,5O": 1}


@pytest.mark.slow
def test_tickets_keep_one_of_two_pages_and_reject_those_of_nobody(lake: Lake, run):
    ticket = {
        "ticket_id": 5,
        "user_id": 2,
        "opened_at": f"{DAYS[0]}T10:00:00Z",
        "severity": "high",
        "topic": "login",
        "resolved": False,
    }
    items = [ticket, {**ticket, "ticket_id": 6, "user_id": None}, ticket]
    payloads = [
        {"request_id": f"r{n}", "item_index": "0", "payload": json.dumps(i)} for n, i in enumerate(items)
    ]
    put(lake, "tickets", {DAYS[0]: payloads}, ("request_id", "item_index", "payload"))
    run("tickets", DAYS[:1])
    assert rows(lake, "select ticket_id, customer_id, severity, resolved from silver.tickets") == [
        (5, 2, "high", False)
    ]
    assert rows(lake, "select reason from rejected.tickets order by 1") == [
        ("duplicate",),
        ("user_id is missing",),
    ]


@pytest.mark.slow
def test_purchases_have_the_price_known_on_their_day_and_carts_are_none(lake: Lake, run):
    products = ("id", "make", "model", "price", "updated_at")
    car = {"id": 1, "make": "Mazda", "model": "MX-5", "price": 100.0}
    put(lake, "products", {DAYS[0]: [car], DAYS[1]: [], DAYS[2]: [{**car, "price": 120}]}, products)
    bought = {"id": 1, "user_id": 2, "product_id": 1, "purchased_at": "2025-01-01T10:00:00+00:00"}
    day = [bought, {**bought, "id": 2, "purchased_at": None}, {**bought, "id": 3, "product_id": 9}]
    put(
        lake,
        "purchases",
        dict.fromkeys(DAYS, day),
        ("id", "user_id", "product_id", "purchased_at", "returned_at", "updated_at"),
    )
    run("purchases")
    found = rows(lake, "select purchase_id, product_name, price, ds from silver.purchases order by ds")
    assert found == [(1, "Mazda MX-5", price, day) for price, day in zip((100, 100, 120), DAYS, strict=True)]
    assert Counter(rows(lake, "select reason from rejected.purchases")) == {("product is unknown",): 3}


@pytest.mark.slow
def test_a_source_that_never_delivered_a_row_gives_an_empty_valid_table(lake: Lake, run):
    for name in ("purchases", "products"):
        put(lake, name, dict.fromkeys(DAYS, ()), ())
    run("purchases")
    assert rows(lake, "select count(*) from silver.purchases") == [(0,)]


def shop(lake: Lake, contacts: dict[str, list[dict[str, Any]]]) -> None:
    users = [
        {"id": n, "name": f"N{n}", "email": f"{n}@shop.example", "created_at": "2020-01-01T00:00:00+00:00"}
        for n in (1, 2, 3)
    ]
    put(lake, "users", {day: users if day == DAYS[0] else [] for day in DAYS}, USER)
    put(lake, "contacts", {day: contacts.get(day, []) for day in DAYS}, CONTACT)


def contact(user: Any, email: str | None, plan: str = "basic") -> dict[str, Any]:
    return {
        "user_id": user,
        "email": email,
        "plan": plan,
        "country": "DE",
        "updated_at": f"{DAYS[0]}T08:00:00Z",
    }


CHANGES = {
    DAYS[0]: [
        contact(1, "a@x.example"),
        contact(2, None),
        contact("user-17", "t@x.example"),
        contact(9, "s@x.example"),
    ],
    DAYS[1]: [contact(1, "a@x.example"), contact(2, "b@x.example")],
    DAYS[2]: [contact(1, "a@x.example", "premium"), contact(1, "a@x.example", "premium"), contact(2, None)],
}
VERSIONS = [
    (1, "a@x.example", "basic", DAYS[0]),
    (2, "2@shop.example", None, DAYS[0]),
    (3, "3@shop.example", None, DAYS[0]),
    (2, "b@x.example", "basic", DAYS[1]),
    (1, "a@x.example", "premium", DAYS[2]),
]
HISTORY = "select customer_id, email, plan, ds from silver.customers order by ds, customer_id"


REJECTED = [
    ("email is missing", DAYS[0]),
    ("user is unknown", DAYS[0]),
    ("user_id is not a whole number: user-17", DAYS[0]),
    ("duplicate", DAYS[2]),
    ("email is missing", DAYS[2]),
]


@pytest.mark.slow
def test_a_change_makes_a_version_and_replaying_an_old_day_edits_no_newer_one(lake: Lake, run):
    shop(lake, CHANGES)
    run("customers")
    assert rows(lake, HISTORY) == VERSIONS
    assert rows(lake, "select reason, ds from rejected.customers order by ds, reason") == REJECTED
    newer = sorted(lake.files("silver", "customers", DAYS[1:]))
    before = fingerprint(lake, "silver.customers"), fingerprint(lake, "rejected.customers")
    run("customers", DAYS[:1])
    assert sorted(lake.files("silver", "customers", DAYS[1:])) == newer
    assert (fingerprint(lake, "silver.customers"), fingerprint(lake, "rejected.customers")) == before


@pytest.mark.slow
def test_day_by_day_gives_the_versions_that_one_range_gives(lake: Lake, run):
    shop(lake, CHANGES)
    run("customers", DAYS[:1])
    run("customers", DAYS[1:])
    assert rows(lake, HISTORY) == VERSIONS
    assert rows(lake, "select reason, ds from rejected.customers order by ds, reason") == REJECTED


def test_history_does_not_skip_a_day(lake: Lake, run):
    shop(lake, CHANGES)
    failed = message(run("customers", DAYS[1:], succeeds=False))
    assert f"needs the day before it: {DAYS[0]}" in failed
    assert f"--select silver/customers --partition {DAYS[0]}" in failed
    assert lake.version("silver", "customers") == -1


def test_a_missing_upstream_says_which_day_and_what_to_run(lake: Lake, run):
    failed = message(run("usage", succeeds=False))
    assert "bronze/usage has no data for 2026-10-05, 2026-10-06, 2026-10-07" in failed
    assert "--select bronze/usage --partition-range 2026-10-05...2026-10-07" in failed
    put_usage(lake, {DAYS[0]: [usage_body(1, DAYS[0])]})
    failed = message(run("usage", succeeds=False))
    assert SourceError.__name__ in failed and "2026-10-06, 2026-10-07" in failed


@pytest.mark.slow
def test_a_blocking_check_keeps_the_bad_day_out_and_publishes_the_others(lake: Lake, run):
    put_usage(lake, {day: [usage_body(1, day)] for day in DAYS})
    run("usage")
    put_usage(lake, {day: [usage_body(1, day, minutes=9999 if day == DAYS[1] else 1)] for day in DAYS})
    failed = message(run("usage", DAYS[1:2], succeeds=False))
    assert "not published for 2026-10-06 (usage_is_plausible)" in failed
    code = "import sys, deltalake; print(deltalake.DeltaTable(sys.argv[1]).version())"
    seen = subprocess.run(
        [sys.executable, "-c", code, lake.path("silver", "usage")], capture_output=True, text=True
    )
    assert seen.stdout.split() == ["1"], seen.stderr
    assert lake.version("rejected", "usage") == 1, "no rejects of a day that is not published"
    failing = run("usage", succeeds=False)
    assert set(recorded(failing, "rejected/usage")) == {DAYS[0], DAYS[2]}
    assert rows(lake, "select minutes from silver.usage order by ds") == [(1.0,), (41.5,), (1.0,)]


def test_a_day_of_history_that_arrives_early_waits_for_the_day_before_it():
    daily = dg.DailyPartitionsDefinition(DAYS[0], end_date="2026-11-02")
    upstream = [dg.AssetSpec(["bronze", name], partitions_def=daily) for name in ("users", "contacts")]
    customers = silver_asset(table("customers"))
    defs = dg.Definitions(assets=[*upstream, customers], resources=dict.fromkeys(NEEDED))
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = None

        def arrive(*days: str) -> None:
            for spec in upstream:
                for day in days:
                    instance.report_runless_asset_event(dg.AssetMaterialization(spec.key, partition=day))

        def tick() -> list[str]:
            nonlocal cursor
            at = datetime(2026, 10, 9, 1)
            found = dg.evaluate_automation_conditions(defs, instance, cursor=cursor, evaluation_time=at)
            cursor = found.cursor
            days = sorted(day for day in found.get_requested_partitions(customers.key) if day)
            for day in days:
                instance.report_runless_asset_event(dg.AssetMaterialization(customers.key, partition=day))
            return days

        assert tick() == []
        arrive(DAYS[0])
        assert tick() == [DAYS[0]]
        arrive(DAYS[2])
        assert tick() == []
        arrive(DAYS[1])
        assert tick() == DAYS[1:]
        assert tick() == []


NEW_TABLE = """
from asgard_assets.transforms.rows import missing, split, typed
from asgard_assets.transforms.silver import silver


@silver(inputs=("bronze.refunds",), key=("refund_id",), description="Refunds.", columns={"refund_id": "bigint"})
def refunds(refunds):
    return split(typed(refunds, {"refund_id": "bigint"}), missing("refund_id")).select("refund_id")
"""


def test_adding_a_file_adds_a_table():
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "silver"
        folder.mkdir()
        (folder / "defs.yaml").write_text("type: asgard_assets.components.silver.SilverTables\n")
        (folder / "_shared.py").write_text("RATE = 2\n")
        (folder / "refunds.py").write_text(NEW_TABLE)
        (folder / "other.py").write_text(
            NEW_TABLE.replace("def refunds(", "def others(").replace("(refunds):", "(refunds):")
        )
        with sandbox.build_all_defs() as defs:
            defs = dg.Definitions.merge(defs, dg.Definitions(resources=dict.fromkeys(NEEDED)))
            keys = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()}
            assert {"silver/refunds", "silver/others", "rejected/refunds", "rejected/others"} <= keys
            spec = defs.resolve_assets_def(dg.AssetKey(["silver", "refunds"])).get_asset_spec()
            assert spec.owners and spec.description == "Refunds." and spec.kinds == {"spark", "delta"}
        (folder / "empty.py").write_text("RATE = 2\n")
        with pytest.raises(Exception) as error, sandbox.build_all_defs():  # noqa: B017 Dagster wraps it
            pass
        cause: BaseException | None = error.value
        while cause is not None and not isinstance(cause, ConfigError):
            cause = cause.__cause__
        assert "empty.py: no table here; decorate a function with @silver" in str(cause)


@pytest.mark.parametrize("name", ["customers", "purchases", "usage", "tickets", "invoices"])
def test_every_table_has_what_the_catalog_asks_for(name):
    asset = silver_asset(table(name))
    spec = asset.get_asset_spec()
    assert spec.key.path == ["silver", name]
    assert spec.owners and spec.description and spec.tags["stage"] == "silver"
    assert spec.metadata["dagster/column_schema"].columns[-1].name == "ds" or name == "customers"
    assert spec.freshness_policy and spec.automation_condition and spec.partitions_def
    assert asset.backfill_policy == dg.BackfillPolicy.single_run()
    assert any(check.blocking for check in asset.check_specs)
    assert {"spark", "lake", "step_launcher"} <= asset.required_resource_keys
