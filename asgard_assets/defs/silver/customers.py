"""Customers and what they were: users of the shop, joined with the changes that the CRM reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_assets.quality.tables import Check
from asgard_assets.transforms.history import CHANGE_HASH, VALID_FROM, latest, versions
from asgard_assets.transforms.rows import REASON, RECORD, Split, missing, split, typed
from asgard_assets.transforms.silver import silver

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

USER = {
    "id": "bigint",
    "name": "string",
    "email": "string",
    "created_at": "timestamp",
    "updated_at": "timestamp",
}
CONTACT = {
    "user_id": "bigint",
    "email": "string",
    "plan": "string",
    "country": "string",
    "updated_at": "timestamp",
}
PROFILE = "struct(name, email, created_at) as profile"
CHANGE = "struct(email, plan, country) as contact"
TRACKED = ("name", "email", "plan", "country", "created_at")


@silver(
    inputs=("bronze.users", "bronze.contacts"),
    history=True,
    key=("customer_id",),
    description="One row a version of a customer, valid from `ds` until the customer's next version.",
    columns={
        "customer_id": "bigint",
        "name": "string",
        "email": ("string", "From the CRM; from the shop's sign-up while the CRM has none."),
        "plan": ("string", "basic, standard or premium; null until the CRM knows the customer."),
        "country": "string",
        "created_at": ("timestamp", "When the user signed up."),
        VALID_FROM: ("date", "First day of this version."),
        CHANGE_HASH: ("string", "SHA-256 of the business columns."),
    },
    checks=(
        Check(name="email_is_set", sql="email is not null"),
        Check(name="email_is_plausible", sql="email like '%_@_%'", severity="warn"),
        Check(name="valid_from_is_its_day", sql="valid_from = ds::date"),
    ),
    # A day brings a handful of changes, so that a few bad ones are a large share.
    max_rejected=0.5,
)
def customers(users: DataFrame, contacts: DataFrame, earlier: DataFrame) -> Split:
    """Versions by day: a user or a CRM change starts one only where a tracked column differs.

    Each day sees the newest profile and contact up to that day, carried forward in one window over what was
    known before the range and the range itself. A change without an e-mail is rejected, and so the e-mail of
    before stays; one for a user whom nobody knows is rejected too.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    needed = missing("id", "name", "email", "created_at")
    people, bad_people = split(typed(users, USER), needed, key=("id",), order=("updated_at desc",))
    needed = missing("user_id", "email")
    changes, bad_changes = split(
        typed(contacts, CONTACT), needed, key=("user_id",), order=("updated_at desc",)
    )
    events = (
        latest(earlier, "customer_id")
        .selectExpr("customer_id", "ds", "true as known", f"null as {RECORD}", PROFILE, CHANGE)
        .unionByName(
            people.selectExpr("id as customer_id", "ds", "false as known", RECORD, PROFILE),
            allowMissingColumns=True,
        )
        .unionByName(
            changes.selectExpr("user_id as customer_id", "ds", "false as known", RECORD, CHANGE),
            allowMissingColumns=True,
        )
    )
    so_far = Window.partitionBy("customer_id").orderBy("ds").rangeBetween(Window.unboundedPreceding, 0)
    same_day = Window.partitionBy("customer_id", "ds").orderBy(RECORD)
    carried = events.withColumns(
        {
            "is_contact": F.col("profile").isNull(),
            "profile": F.last("profile", ignorenulls=True).over(so_far),
            "contact": F.last("contact", ignorenulls=True).over(so_far),
            "place": F.row_number().over(same_day),
        }
    )
    strangers = carried.where("is_contact and profile is null").selectExpr(
        RECORD, f"'user is unknown' as {REASON}", "ds"
    )
    states = carried.where("profile is not null and place = 1").selectExpr(
        "customer_id",
        "ds",
        "known",
        "profile.name",
        "coalesce(contact.email, profile.email) as email",
        "contact.plan",
        "contact.country",
        "profile.created_at",
    )
    rejected = bad_people.unionByName(bad_changes).unionByName(strangers)
    return Split(versions(states, "customer_id", TRACKED), rejected)
