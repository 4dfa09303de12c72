"""One channel for alerts: log, webhook and e-mail, to the owners, and each change once."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from email import message_from_string
from email.message import Message

import dagster as dg
import pytest

from asgard_assets.components.platform.alerts import alert
from asgard_assets.components.platform.freshness import freshness_alerts
from asgard_assets.errors import ConfigError
from tests.fakes.receiver import Receiver, receiving
from tests.patience import patience


class Mailbox:
    """A mail server on loopback, as far as smtplib speaks to one. `refuses`: it takes no recipient."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.mails: list[tuple[list[str], Message]] = []
        self.refuses = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.socket.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rw", newline="\r\n") as lines:
                self._talk(lines)

    def _talk(self, lines) -> None:
        def say(text: str) -> None:
            lines.write(text + "\r\n")
            lines.flush()

        recipients = list[str]()
        say("220 mailbox")
        while line := lines.readline().strip():
            word = line[:4].upper()
            if word == "RCPT" and self.refuses:
                say("550 nobody of that name")
            elif word == "RCPT":
                recipients.append(line.partition("<")[2].rstrip(">"))
                say("250 ok")
            elif word == "DATA":
                say("354 go on")
                text = list[str]()
                while (part := lines.readline().rstrip("\r\n")) != ".":
                    text.append(part)
                self.mails.append((recipients, message_from_string("\n".join(text))))
                say("250 taken")
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)  # closing alone wakes nobody who waits in accept
        self.socket.close()
        self.thread.join(patience(5))


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    box = Mailbox()
    monkeypatch.setenv("ASGARD_SMTP", box.address)
    monkeypatch.setenv("ASGARD_SMTP_TLS", "none")
    yield box
    box.close()


@pytest.fixture
def receiver():
    with receiving() as one:
        yield one


def test_each_owner_is_written_to_where_the_settings_say(mailbox: Mailbox, monkeypatch):
    monkeypatch.setenv("ASGARD_ALERT_EMAIL", "all@example.com")
    monkeypatch.setenv("ASGARD_ALERT_EMAILS", '{"team:billing": "billing@example.com"}')
    told = alert("Asgard: gold/x failed", ["team:billing", "ann@example.com", "team:other"], {"run_id": "7"})
    [(recipients, mail)] = mailbox.mails
    assert recipients == told == ["ann@example.com", "billing@example.com", "all@example.com"]
    assert mail["Subject"] == "Asgard: gold/x failed" and "run_id: 7" in str(mail.get_payload())


def test_what_nobody_is_to_be_told_of_stands_in_the_log(settings, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        assert alert("Asgard: gold/x failed", ["team:billing"]) == []
    assert "gold/x failed (owners: team:billing)" in caplog.text


def test_one_address_that_fails_keeps_no_other_from_being_told(
    mailbox: Mailbox, receiver: Receiver, monkeypatch
):
    monkeypatch.setenv("ASGARD_ALERT_EMAIL", "all@example.com")
    monkeypatch.setenv("ASGARD_ALERT_WEBHOOK", receiver.url)
    receiver.status = 500
    with pytest.raises(ConfigError, match="HTTP 500"):
        alert("Asgard: gold/x failed", sleep=lambda _: None)
    assert len(mailbox.mails) == 1
    receiver.status, mailbox.refuses = 200, True
    with pytest.raises(ConfigError, match="mail server .* did not take an alert"):
        alert("Asgard: gold/x failed")
    assert len(receiver.posted) == 4  # three tries, and one


def test_a_mail_server_that_is_away_is_an_error_without_the_password(mailbox: Mailbox, monkeypatch):
    monkeypatch.setenv("ASGARD_ALERT_EMAIL", "all@example.com")
    monkeypatch.setenv("ASGARD_SMTP_USER", "asgard")
    monkeypatch.setenv("ASGARD_SMTP_PASSWORD", "open-sesame")
    with pytest.raises(ConfigError) as told:  # the mailbox knows no login
        alert("Asgard: gold/x failed")
    assert "open-sesame" not in str(told.value)


class Late:
    """The sensor over two tables of two owners, whose freshness a test sets."""

    def __init__(self) -> None:
        self.states = dict[dg.AssetKey, str]()
        self.sensor = freshness_alerts(lambda instance, keys: self.states)
        specs = [dg.AssetSpec(["gold", name], owners=[f"team:{name}"]) for name in ("x", "y")]
        self.repository = dg.Definitions(assets=specs, sensors=[self.sensor]).get_repository_def()
        self.cursor: str | None = None

    def tick(self, **states: str) -> None:
        self.states = {dg.AssetKey(["gold", name]): state for name, state in states.items()}
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(
                instance=instance, cursor=self.cursor, repository_def=self.repository
            )
            self.cursor = self.sensor.evaluate_tick(context).cursor


def test_a_late_table_is_told_once_to_its_owner_and_its_recovery_too(receiver: Receiver, monkeypatch):
    monkeypatch.setenv("ASGARD_ALERT_WEBHOOK", receiver.url)
    late = Late()
    for states in ({"x": "PASS"}, {"x": "WARN", "y": "PASS"}, {"x": "WARN", "y": "PASS"}):
        late.tick(**states)
    late.tick(x="FAIL", y="WARN")
    late.tick(x="UNKNOWN", y="WARN")
    late.tick(x="PASS", y="WARN")
    late.tick(x="PASS", y="WARN")
    told = [(body["text"].removeprefix("Asgard: "), body["owners"]) for _, body in receiver.posted]
    assert told == [
        ("gold/x is late", ["team:x"]),
        ("gold/x is too old", ["team:x"]),
        ("gold/y is late", ["team:y"]),
        ("gold/x is fresh again", ["team:x"]),
    ]


def test_what_many_tables_of_one_owner_do_is_one_message(receiver: Receiver, monkeypatch):
    monkeypatch.setenv("ASGARD_ALERT_WEBHOOK", receiver.url)
    late = Late()
    late.repository = dg.Definitions(
        assets=[dg.AssetSpec(["gold", f"t{n}"], owners=["team:x"]) for n in range(30)], sensors=[late.sensor]
    ).get_repository_def()
    late.tick(**{f"t{n}": "FAIL" for n in range(30)})
    [(_, body)] = receiver.posted
    assert "and 10 more" in body["text"]
