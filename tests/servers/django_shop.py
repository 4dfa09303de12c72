"""A shop by Django REST framework, whose paginations it has no code of its own for: `python django_shop.py PORT ROWS`."""

from __future__ import annotations

import sys
from decimal import Decimal

import django
from django.conf import settings

PORT, ROWS = sys.argv[1:]
settings.configure(
    SECRET_KEY="tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["rest_framework"],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:shop?mode=memory&cache=shared"}
    },
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None, "DEFAULT_AUTHENTICATION_CLASSES": []},
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import generics, pagination, serializers  # noqa: E402
from rest_framework.renderers import JSONRenderer  # noqa: E402
from rest_framework_json_api.pagination import JsonApiPageNumberPagination  # noqa: E402
from rest_framework_json_api.renderers import JSONRenderer as JsonApiRenderer  # noqa: E402


class Book(models.Model):
    title = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=20, decimal_places=10)
    sold = models.BigIntegerField()
    tags = models.JSONField()

    class Meta:
        app_label = "shop"


class BookSerializer(serializers.ModelSerializer):
    price = serializers.DecimalField(max_digits=20, decimal_places=10, coerce_to_string=False)

    class Meta:
        model = Book
        fields = ("id", "title", "price", "sold", "tags")


def books(paging: type[pagination.BasePagination] | None, renderer: type = JSONRenderer):
    return generics.ListAPIView.as_view(
        queryset=Book.objects.order_by("id"),
        serializer_class=BookSerializer,
        pagination_class=paging,
        renderer_classes=[renderer],
    )


class Pages(pagination.PageNumberPagination):
    page_size = 20


class Offsets(pagination.LimitOffsetPagination):
    default_limit = 20


class Cursors(pagination.CursorPagination):
    page_size, ordering = 20, "id"


class JsonApiPages(JsonApiPageNumberPagination):
    page_size = 20


urlpatterns = [
    path("books/", books(Pages)),
    path("offset/", books(Offsets)),
    path("cursor/", books(Cursors)),
    path("all/", books(None)),
    path("jsonapi/", books(JsonApiPages, JsonApiRenderer)),
    path("jsonapi/all/", books(None, JsonApiRenderer)),
]

with connection.schema_editor() as editor:
    editor.create_model(Book)
Book.objects.bulk_create(
    Book(title=f"Band {n} – ü", price=Decimal(n) / 7, sold=2**60 + n, tags={"n": n, "none": None})
    for n in range(int(ROWS))
)
call_command("runserver", f"127.0.0.1:{PORT}", use_reloader=False)
