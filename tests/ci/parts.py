"""The parts that the tests are cut into: `make test-part PART=name`. What is in no part, `make test` runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

SERVERS = "servers"


@dataclass(frozen=True)
class Part:
    """Tests that CI runs together, in one of three landings at least.

    `turn`: in which of three landings it is due. `minutes`: how long it may take at a loop of 1.5 s.
    `tests`: the ends of paths, with or without folders, so that a file may move. `file` stands for the tests
    of the file that are marked `servers`, `file::name` (with wildcards) for others too.
    `sources`: paths that, once changed, bring the part to the front.
    """

    name: str
    turn: int
    minutes: float
    tests: tuple[str, ...]
    sources: tuple[str, ...]
    cluster: bool = False

    def has(self, path: str, test: str, marks: Collection[str]) -> bool:
        for wanted in self.tests:
            file, _, name = wanted.partition("::")
            if f"/{path}".endswith(f"/{file}") and (fnmatchcase(test, name) if name else SERVERS in marks):
                return True
        return False


def part_of(path: str, test: str, marks: Collection[str]) -> Part | None:
    """The part of a test (path of its file, its name with parameters); None: `make test` runs it."""
    return next((part for part in PARTS if part.has(path, test, marks)), None)


API = ("asgard_assets/ingest/api/", "asgard_assets/spark/", "tests/ingest/api/")
FILES = ("asgard_assets/ingest/files/", "asgard_assets/lake/", "tests/ingest/files/")
AIRBYTE = ("deployments/local/airbyte/", "asgard_assets/components/airbyte", "tests/fakes/airbyte")
GATEWAY = (
    "asgard_assets/gateway/",
    "asgard_assets/operations/",
    "asgard_assets/components/platform/",
    "tests/gateway/",
)
DBT = ("dbt/", "asgard_assets/components/dbt", "asgard_assets/lake/", "tests/dbt/")
STEPS = ("asgard_assets/resources/", "asgard_assets/spark/", "tests/resources/")
PODS = ("deployments/cluster/", "deployments/helm/", "deployments/images/", "tests/cluster/", *STEPS)
DEMO = (
    "asgard_assets/defs/",
    "asgard_assets/definitions.py",
    "asgard_assets/demo/",
    "dbt_project/",
    "tests/end_to_end/",
)
PAGES = ("README.md", "docs/", "examples/", *DEMO)

PARTS = (
    Part("kills-of-stages", 1, 5.5, ("test_kill.py::*[[]bronze]", "test_kill.py::*[[]silver]"), ("asgard_assets/lake/", *DEMO)),
    Part("kills-of-loads", 0, 8, (
        "test_exactly_once.py", "test_canaries.py", "test_once.py", "test_walk_state.py", "test_big_bodies.py",
        "landing/test_s3.py::test_files_on_s3*", "test_vault.py::test_what_a_killed_run_held*",
    ), (*API, *FILES)),
    Part("dbt-zones", 1, 1.7, ("dbt/test_calendars.py::test_a_model_of_another_zone*", "dbt/test_model_slices.py"), DBT),
    Part("dbt-month", 0, 3.5, ("dbt/test_month_of_runs.py::*",), DBT),
    Part("dbt-models", 0, 8, (
        "test_drop_in.py", "test_delta.py::test_eight_*", "dbt/test_gold.py", "dbt/test_calendars.py", "dbt/test_state.py", "dbt/test_daily.py",
        "dbt/test_checks_alone.py", "dbt/test_strangers.py", "dbt/test_fresh.py",
    ), DBT),
    Part("sensors", 0, 8, ("end_to_end/test_automation.py", "test_file_sensor.py::test_ticks_with_many*"), ("asgard_assets/components/", *DEMO)),
    Part("kills-of-tables", 1, 2.3, ("test_kill.py", "test_lost_answers.py::test_a_store_that_refuses*"), ("asgard_assets/lake/", "asgard_assets/ml/", *DEMO)),
    Part("steps", 1, 2.4, ("test_launcher.py", "test_odd_steps.py", "test_leftovers.py"), STEPS),
    Part("kills-of-airbyte", 1, 3, ("test_airbyte_kill.py",), AIRBYTE),
    Part("trino", 1, 3, ("test_engines.py", "dbt/test_delta.py"), DBT),
    Part("page-on-files", 1, 3.8, ("test_ci_materialize.py", "test_pages.py::test_the_page_on_[fl]*", "test_docs.py::test_the_notebook*"), (*PAGES, *FILES)),
    Part("pages", 1, 4.2, ("test_pages.py", "test_readme.py"), PAGES),
    Part("formats", 1, 3.8, (
        "readers/test_odd_columns.py::*", "readers/test_isolated.py::*", "readers/test_formats.py::test_every_format*", "files/test_corpora.py", "files/test_generated.py::*", "files/test_sent.py::*", "files/test_strange.py::*", "files/test_moving.py::*",
    ), FILES),
    Part("fuzz", 0, 1.5, ("fuzz/test_fuzz.py::*",), (*API, *FILES, "tests/fuzz/")),
    Part("spark-submit", 2, 5.8, ("test_spark_submit.py", "test_odd_checkout.py", "test_submit.py", "test_production.py", "test_commits.py", "test_fresh_keys.py"), STEPS),
    Part("warm-spark", 2, 4, ("connect/test_steps.py",), (*STEPS, "asgard_assets/components/silver.py", "tests/spark/connect/", "tests/servers/spark_connect.py")),
    Part("java-and-aws", 0, 1.2, ("test_java.py", "test_aws_secrets.py"), ("deployments/local/setup.sh", "asgard_assets/spark/java.py", "asgard_assets/resources/")),
    Part("airbyte", 0, 4.5, ("test_airbyte_bronze.py::*", "test_airbyte_manifests.py::*", "test_airbyte_syncs.py::*", "components/airbyte/test_runs.py::*", "test_airbyte_client.py", "test_airbyte_clock.py", "test_airbyte_dev.py", "test_airbyte_server.py"), AIRBYTE),
    Part("other-servers", 2, 3.8, ("test_foreign_apis.py", "test_foreign_lists.py", "openapi/test_described.py::*", "test_keycloak.py", "test_receiver.py", "test_conditional.py", "lake/test_store.py", "ml/test_artifacts.py", "ml/test_online.py", "operations/test_backup.py", "operations/test_changes.py", "operations/test_online.py::*"), (*API, "asgard_assets/ml/", "asgard_assets/operations/changes/")),
    Part("models", 1, 3.6, ("ml/test_second_model.py", "ml/test_churn_path.py", "ml/test_view_calendars.py::*", "ml/test_model_calendars.py", "ml/test_online_zones.py::*", "features/test_assets.py::*", "test_model_truth.py::test_with_shuffled_labels*"), ("asgard_assets/ml/", "asgard_assets/components/", "docs/own-model.md")),
    Part("screens", 0, 2, ("test_ui.py",), ("asgard_assets/components/", *DEMO)),
    Part("refusals", 2, 8, (
        "test_blocking.py", "test_bad_input.py", "test_model_truth.py::test_a_feature_of_later_knowledge*",
        "test_demo.py::test_an_interrupted*",
    ), ("asgard_assets/quality/", "asgard_assets/lake/", "asgard_assets/ml/", *DEMO)),
    Part("wheel", 2, 3.9, ("test_wheel.py", "test_upgrade.py"), (
        "deployments/project/", "deployments/wheel.py", "asgard_assets/project.py", "asgard_assets/operations/new/project.py",
        "asgard_assets/components/platform/", "tests/project/", "pyproject.toml",
    )),
    Part("month", 2, 4.8, ("month/test_month.py::*",), (
        "asgard_assets/components/", "asgard_assets/lake/", "asgard_assets/ingest/", "asgard_assets/transforms/", "dbt/", "tests/month/",
    )),
    Part("zones", 1, 1.5, ("following/test_requests.py", "components/test_zone_cuts.py::*", "components/test_slices.py::*", "components/test_time_in_stages.py::*"), (
        "asgard_assets/components/", "asgard_assets/lake/", "asgard_assets/ingest/files/", "asgard_assets/windows.py",
    )),
    Part("slices", 0, 1.3, (
        "components/test_silver_slices.py::*", "components/test_file_slices.py::*", "components/test_api_slices.py::*",
        "platform/test_history.py",
    ), (
        "asgard_assets/components/", "asgard_assets/transforms/", "asgard_assets/lake/",
    )),
    Part("schemas", 2, 2.7, ("stream/test_schemas.py", "stream/test_follow.py", "stream/test_changes.py"), ("asgard_assets/ingest/stream/", "tests/servers/apicurio.py", "tests/servers/debezium.py", "tests/ingest/stream/")),
    Part("streams", 2, 1.4, ("stream/test_streams.py", "stream/test_assets.py"), (
        "asgard_assets/ingest/stream/", "asgard_assets/sinks/", "asgard_assets/components/stream/", "asgard_assets/lake/",
        "deployments/local/streaming/", "tests/ingest/stream/",
    )),
    Part("monitoring", 0, 1.4, ("telemetry/test_monitoring.py", "components/lineage/test_lineage.py::*"), (
        "asgard_assets/telemetry/", "asgard_assets/operations/metrics/", "asgard_assets/components/lineage/", "deployments/monitoring/", "tests/telemetry/",
    )),
    Part("sinks", 0, 1, ("sinks/test_mirror.py",), ("asgard_assets/sinks/", "asgard_assets/components/sinks/", "asgard_assets/lake/", "tests/sinks/")),
    Part("databases", 0, 1.7, ("ingest/sql/test_types.py", "ingest/sql/test_loads.py", "ingest/sql/test_assets.py", "ingest/sql/test_connected.py", "ingest/sql/test_kills.py"), (
        "asgard_assets/ingest/sql/", "asgard_assets/components/sql.py", "asgard_assets/lake/", "tests/ingest/sql/", "tests/servers/mariadb.py",
    )),
    Part("catalogs-readers", 2, 1.5, ("catalogs/test_matrix.py::*",), ("asgard_assets/catalogs/", "tests/catalogs/", "tests/servers/hive.py", "tests/servers/nessie.py", "tests/servers/trino.py", "tests/servers/jdbc/")),
    Part("catalogs", 2, 1.2, ("catalogs/test_iceberg.py::*", "catalogs/test_nessie.py", "catalogs/test_hive.py", "catalogs/test_sensor.py::*"), ("asgard_assets/catalogs/", "asgard_assets/components/catalogs/", "asgard_assets/lake/", "tests/catalogs/", "tests/servers/nessie.py")),
    Part("gateway", 2, 5.7, ("gateway/test_walkthrough.py", "gateway/test_churn.py", "components/test_managed_trainings.py::*", "ml/managed/test_jail.py::*", "gateway/test_app.py::*", "gateway/test_accounts.py::*", "gateway/test_contract.py::*", "gateway/test_serving.py::*", "gateway/test_runs.py::*", "gateway/test_sinks.py::*", "gateway/test_databases.py::*", "gateway/test_source_types.py"), GATEWAY),
    Part("gateway-models", 1, 1.7, ("gateway/test_agents.py::*", "gateway/test_features.py::*", "components/test_managed_features.py::*", "ml/managed/test_features.py::*", "gateway/test_trainings.py::*", "gateway/test_matrix.py::*"), ("asgard_assets/ml/managed/", *GATEWAY)),
    Part("gateway-requests", 0, 3.5, ("gateway/test_schemathesis.py::*", "gateway/test_attacks.py::*", "gateway/test_fuzz.py::*"), GATEWAY),
    Part("gateway-faults", 1, 2.5, ("gateway/test_faults.py", "gateway/test_repeats.py::*", "gateway/test_shared.py"), ("tests/servers/postgres.py", *GATEWAY)),
    Part("service-pages", 2, 3, ("gateway/test_uis.py::*", "gateway/test_ui_pages.py::*", "gateway/test_browser.py"), ("asgard_assets/gateway/pages/", "asgard_assets/gateway/uis/", "asgard_assets/operations/uis/")),
    Part("service", 1, 1.9, ("gateway/test_autoload_path.py", "gateway/test_reload.py", "gateway/test_ingestions.py::*", "gateway/test_clusters.py::*", "files/test_decisions.py::*"), ("asgard_assets/gateway/autoloader/", "asgard_assets/gateway/pages/", "asgard_assets/operations/autoloader/", "asgard_assets/components/platform/definitions.py")),
    Part("cluster-chart", 0, 3, ("cluster/test_chart.py::*", "cluster/test_rights.py::*", "cluster/test_gold.py::*", "cluster/test_pipes.py::*", "cluster/test_connect.py::*"), PODS, cluster=True),
    Part("cluster-ends", 0, 5, (
        "cluster/test_stories.py::*killed_host*", "cluster/test_stories.py::*deleted*", "cluster/test_stories.py::*evicted*",
        "cluster/test_stories.py::*memory*", "cluster/test_stories.py::*cancelled*",
    ), PODS, cluster=True),
    Part("cluster-contract", 1, 5, ("cluster/test_contract.py::*", "cluster/test_project.py::*"), PODS, cluster=True),
    Part("cluster-outages", 1, 7, (
        "cluster/test_stories.py::*s3*", "cluster/test_stories.py::*away*", "cluster/test_stories.py::*operator*",
    ), PODS, cluster=True),
    Part("cluster-assets", 2, 4.5, ("cluster/test_assets.py::*", "cluster/test_platform.py::*"), PODS, cluster=True),
    Part("cluster-refusals", 2, 2.8, ("cluster/test_stories.py::*",), PODS, cluster=True),
)  # fmt: skip
