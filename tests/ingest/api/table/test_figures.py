"""What tasks hand back adds up, whatever their number and length."""

from __future__ import annotations

import base64
import re

from hypothesis import given
from hypothesis import strategies as st

from asgard_assets.components.api_metadata import throughput
from asgard_assets.ingest.api.table.figures import Figures, slowest


@given(st.lists(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 90)), max_size=700), max_size=4))
def test_no_request_is_lost_however_long_the_tasks_take(tasks):
    parts, requests = [], 0
    for moments in tasks:
        figures = Figures()
        for second, count in moments:
            figures.sent(second, count)
            requests += count
        assert len(figures.pace) <= 601
        parts.append(figures.to_json())
    assert sum(Figures.total(parts).pace.values()) == requests


def test_hosts_of_all_tasks_add_up_and_the_slowest_comes_first():
    one = Figures(hosts={"quick:80": [10, 0, 0.1, 0.05], "slow:80": [2, 1, 1.0, 0.9]})
    two = Figures(hosts={"slow:80": [2, 0, 3.0, 2.5]})
    found = slowest(Figures.total([one.to_json(), two.to_json()]).hosts)
    assert [(h.host, h.tries, h.bad, h.mean_seconds, h.slowest_seconds) for h in found] == [
        ("slow:80", 4, 1, 1.0, 2.5),
        ("quick:80", 10, 0, 0.01, 0.05),
    ]


def test_the_picture_has_a_bar_for_each_time_and_its_highest_is_the_most():
    text = throughput({100: 50, 101: 200, 103: 100})
    assert "at most 200 requests/s" in text
    svg = base64.b64decode(text.partition("base64,")[2].rstrip(")")).decode()
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"/>', svg)]
    assert heights == [25, 100, 50]
    assert (
        len(
            re.findall(
                "<rect",
                base64.b64decode(
                    throughput(dict.fromkeys(range(10_000), 1)).partition("base64,")[2][:-1]
                ).decode(),
            )
        )
        <= 60
    )
