"""`/data-products`: what other programs read."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from asgard_assets.gateway.accounts.callers import Reader
from asgard_assets.gateway.accounts.roles import ROLES, May
from asgard_assets.gateway.platform import Here
from asgard_assets.operations.serving.products import Product, contract

router = APIRouter()
PRODUCTS = "Data products"


class ProductList(BaseModel):
    data_products: list[Product] = Field(description="The Gold tables, by name.")
    total: int = Field(description="How many there are.")


class ProductRows(BaseModel):
    columns: list[str] = Field(description="Names of the columns.")
    rows: list[list[Any]] = Field(description="The rows, each with a value a column.")
    next_offset: int | None = Field(description="Send it as ?offset= to go on; null: these were the last.")


@router.get("/data-products", tags=[PRODUCTS])
def list_products(here: Here, caller: Reader) -> ProductList:
    """The data products: Gold tables with their columns, owner and version."""
    found = here.products.list(caller.sees)
    return ProductList(data_products=found, total=len(found))


@router.get("/data-products/{name}", tags=[PRODUCTS])
def get_product(name: str, here: Here, caller: Reader) -> Product:
    """One data product."""
    return here.products.get(name, caller.sees)


@router.get("/data-products/{name}/contract", tags=[PRODUCTS])
def product_contract(name: str, here: Here, caller: Reader) -> dict[str, Any]:
    """What it promises, as an Open Data Contract (ODCS)."""
    return contract(here.products.get(name, caller.sees))


@router.get("/data-products/{name}/rows", tags=[PRODUCTS])
def product_rows(
    name: str, here: Here, caller: Reader,
    limit: Annotated[int, Query(ge=1, le=10_000, description="At most so many rows.")] = 100,
    offset: Annotated[int, Query(ge=0, le=10**12, description="How many rows to pass over.")] = 0,
    columns: Annotated[str, Query(max_length=5000, description="Names of columns by comma; default: all.")] = "",
    filter: Annotated[list[str] | None, Query(max_length=20, description="column:eq:value; also ne, lt, le, gt, ge.")] = None,
) -> ProductRows:  # fmt: skip
    """Its rows: filtered, page by page. Masked columns are clear for editors, trainers and admins."""
    product = here.products.get(name, caller.sees)
    clear = bool({May.edit, May.train} & ROLES[caller.role])
    chosen = [part for part in columns.split(",") if part]
    found = here.products.rows(product, limit, offset, filter or (), chosen, clear)
    after = offset + limit if found.more else None
    return ProductRows(columns=list(found.columns), rows=[list(row) for row in found.rows], next_offset=after)
