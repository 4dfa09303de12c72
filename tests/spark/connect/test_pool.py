"""The pool of Spark Connect sessions: who gets which, and what becomes of one that failed or died. No server."""

from __future__ import annotations

import threading
import time

import pytest

from asgard_assets.errors import ConfigError, SparkServerError
from asgard_assets.resources.connect import address_of
from asgard_assets.settings import Settings
from asgard_assets.spark.connect import Address, LocalServer, SessionPool
from asgard_assets.spark.connect.pod import command
from asgard_assets.spark.connect.sessions import went_away
from asgard_assets.spark.session import lake_conf


class Numbers:
    """Sessions that are numbers; `spoilt` ones cannot be cleaned, and `away` servers open none."""

    def __init__(self) -> None:
        self.opened, self.closed, self.spoilt, self.away = 0, list[int](), set[int](), False

    def open(self) -> int:
        if self.away:
            raise SparkServerError("away")
        self.opened += 1
        return self.opened

    def clean(self, session: int) -> bool:
        return session not in self.spoilt

    def close(self, session: int) -> None:
        self.closed.append(session)


@pytest.fixture
def source() -> Numbers:
    return Numbers()


def test_an_owner_gets_its_own_session_again_and_no_other_one(source: Numbers):
    pool = SessionPool(source, 4, 1)
    with pool.session("team:a") as first:
        pass
    with pool.session("team:b") as second:
        pass
    with pool.session("team:a") as third:
        pass
    assert (first, second, third) == (1, 2, 1)


def test_a_session_whose_borrower_failed_is_closed(source: Numbers):
    pool = SessionPool(source, 4, 1)
    with pytest.raises(ValueError), pool.session("a"):
        raise ValueError
    assert source.closed == [1]
    with pool.session("a") as again:
        assert again == 2


def test_a_dead_session_is_found_and_replaced(source: Numbers):
    pool = SessionPool(source, 4, 1)
    with pool.session("a"), pool.session("a"):
        pass
    source.spoilt = {1, 2}
    with pool.session("a") as found:
        assert found == 3
    assert sorted(source.closed) == [1, 2]


def test_idle_sessions_of_others_make_room(source: Numbers):
    pool = SessionPool(source, 2, 1)
    for owner in ("a", "b", "c"):
        with pool.session(owner):
            pass
    assert source.closed == [1] and source.opened == 3


def test_a_pool_without_a_free_session_says_who_has_them_and_what_to_do(source: Numbers):
    pool = SessionPool(source, 1, 0.05)
    with pool.session("team:a"), pytest.raises(SparkServerError) as refused:
        pool.borrow("team:b")
    assert "team:a" in str(refused.value) and "SPARK_SESSION_POOL_SIZE" in str(refused.value)
    with pool.session("team:b") as later:
        assert later == 2


def test_a_waiting_step_gets_the_session_that_comes_back(source: Numbers):
    pool, got = SessionPool(source, 1, 10), list[int]()
    held = pool.borrow("a")
    waiter = threading.Thread(target=lambda: got.append(pool.borrow("a")))
    waiter.start()
    time.sleep(0.05)
    assert not got
    pool.give_back("a", held)
    waiter.join(10)
    assert got == [1]


def test_a_server_that_is_away_takes_no_place_in_the_pool(source: Numbers):
    pool = SessionPool(source, 1, 0.05)
    source.away = True
    for _ in range(2):
        with pytest.raises(SparkServerError, match="away"):
            pool.borrow("a")
    source.away = False
    assert pool.borrow("a") == 1


def test_threads_never_have_more_sessions_than_the_pool(source: Numbers):
    pool, now, most, lock = SessionPool(source, 3, 30), set[int](), list[int](), threading.Lock()

    def work(number: int) -> None:
        for _ in range(20):
            with pool.session(f"team:{number % 2}") as session:
                with lock:
                    assert session not in now
                    now.add(session)
                    most.append(len(now))
                with lock:
                    now.remove(session)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert max(most) <= 3 and len(most) == 160 and source.opened - len(source.closed) <= 3


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("sc://spark.example.com:15003", "sc://spark.example.com:15003"),
        ("sc://spark.example.com", "sc://spark.example.com:15002"),
        ("sc://spark.example.com:443/;use_ssl=true", "sc://spark.example.com:443/;use_ssl=true"),
    ],
)
def test_an_address_is_read_as_it_is_written(text: str, address: str):
    assert str(Address.of(Settings(spark_connect=text))) == address


def test_a_token_is_in_no_text_and_goes_over_tls_only():
    address = Address("spark.example.com", 443, tls=True, token="t0ken")
    assert "t0ken" not in f"{address} {address!r}" and "t0ken" in address.url
    with pytest.raises(ConfigError, match="use_ssl=true"):
        Address("127.0.0.1", 15002, token="t0ken")


def test_a_token_of_the_environment_turns_no_tls_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPARK_CONNECT_AUTHENTICATE_TOKEN", "of-the-server")
    assert not Address("spark", 15002, token="t", clear=True).channel().secure
    assert not Address("spark", 15002).channel().secure
    assert Address("spark", 443, tls=True, token="t").channel().token == "t"


def test_an_address_with_a_token_in_it_is_refused():
    with pytest.raises(ValueError, match="spark_connect"):
        Settings(spark_connect="sc://spark.example.com/;token=abc")


def test_the_document_s_name_of_the_pool_s_size_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPARK_SESSION_POOL_SIZE", "3")
    assert Settings().spark_session_pool_size == 3


def test_production_names_its_server():
    settings = Settings().model_copy(update={"env": "production", "launcher": "connect"})
    with pytest.raises(ConfigError, match="sparkConnect of the Helm chart"):
        address_of(settings)


def test_a_home_without_a_server_says_how_one_is_started(settings: Settings):
    with pytest.raises(ConfigError, match="asgard spark-server"):
        LocalServer.found(settings)


def test_the_note_of_a_server_is_for_its_owner_alone_and_goes_with_it(settings: Settings):
    server = LocalServer.new(settings)
    with server.announced():
        found = LocalServer.found(settings)
        assert (found.port, found.token) == (server.port, server.token)
        assert (server.folder / "server.json").stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError):
        LocalServer.found(settings)


def test_only_pyspark_s_own_errors_mean_that_the_server_went_away():
    assert not went_away(ValueError("StatusCode.UNAVAILABLE"))


def test_the_server_of_a_pod_has_what_the_lake_needs_and_the_operator_s_options_win():
    settings = Settings(lake="s3://lake/tables")
    line = command(["--conf", "spark.speculation=true", "--master", "k8s://there"], settings)
    wanted = [f"{name}={value}" for name, value in lake_conf(settings).items()]
    assert set(wanted) <= set(line)
    assert line.index("spark.speculation=true") > max(line.index(each) for each in wanted)
    assert line[-1] == "spark-internal"
