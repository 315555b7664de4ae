"""The service while its configuration is read again: all of it holds, or nothing has changed. No worker is started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from anonymizer import config, service
from anonymizer.events.outbox import Outbox
from anonymizer.events.state import CameraCounters, CameraState
from anonymizer.events.topics import Message, SetProfile, Topics
from anonymizer.policy import Action
from anonymizer.service import Service


class Idle:
    """A camera whose worker does nothing, and takes its time to stop."""

    clock, restarts = "", 0

    def __init__(self, name: str, streams: Any, specify: Any, listener: Any) -> None:
        self.name, self.state, self.counters, self.orders = name, CameraState(), CameraCounters(), 0

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def stop(self, patience: float = 0.0) -> None:
        await asyncio.sleep(0.05)

    async def still(self) -> bytes | None:
        await asyncio.sleep(0.05)
        return b"a still"

    def order(self, order: Any) -> None:
        self.orders += 1

    def set(self, **changes: Any) -> None:
        pass


class Broker:
    """What is sent, and nothing that answers. It reaches the broker at the end."""

    reachable = True

    def __init__(self, settings: Any, topics: Topics, *_: Any, **__: Any) -> None:
        self.settings, self.topics, self.outbox = settings, topics, Outbox(10)
        self.sent: dict[str, bytes] = {}

    def start(self) -> None:
        pass

    def send(self, *messages: Message, again: bool = False) -> None:
        self.sent |= {message.topic: message.payload for message in messages}
        for message in messages:
            self.outbox.put(message, again)

    def stop(self, timeout: float) -> None:
        while self.reachable and (message := self.outbox.take()):
            self.outbox.sent(message)


class House:
    """A service with cameras a, b and c, and its configuration file."""

    def __init__(self, folder: Path) -> None:
        self.password = folder / "password"
        self.password.write_text("old\n")
        (folder / "night.yaml").write_text("default: privacy\n")
        self.settings: dict[str, Any] = {
            "state_dir": str(folder / "state"),
            "rtsp": {"host": "127.0.0.1", "port": 0, "udp": False},
            "http": {"host": "127.0.0.1", "port": 0},
            "mqtt": {"host": "127.0.0.1", "homeassistant": {"discovery": True}},
            "profiles": {"night": str(folder / "night.yaml")},
            "cameras": {name: self.camera() for name in "abc"},
        }
        self.path = folder / "config.yaml"
        self.start()

    def start(self) -> None:
        self.write()
        self.service = Service(config.load(self.path), self.path)

    def sent(self) -> dict[str, bytes]:
        assert isinstance(self.service._mqtt, Broker)
        return self.service._mqtt.sent

    def camera(self, **more: Any) -> dict[str, Any]:
        return {"source": {"url": "rtsp://127.0.0.1:9/none"}, "users": {"nvr": f"file:{self.password}"}, **more}

    def write(self) -> None:
        self.path.write_text(yaml.safe_dump(self.settings))

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def all_of_it() -> None:
            running = asyncio.create_task(self.service.run())
            await asyncio.wait_for(self.service.ready.wait(), 10)
            try:
                await scenario()
            finally:
                self.service.shut_down()
                await running

        asyncio.run(all_of_it())

    def there(self) -> list[str]:
        assert set(self.service.cameras) == set(self.service.rtsp.mounts) == set(self.service._tasks)
        return sorted(self.service.cameras)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(service, "Supervisor", Idle)
    monkeypatch.setattr(service, "MqttClient", Broker)
    return House(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"users": {}}, {"users": {"nvr": "env:NOT_THERE"}},
        {"source": {"url": "rtsp://127.0.0.1:9/none", "user": "u", "password": "env:NOT_THERE"}},
    ],
)  # fmt: skip
def test_one_wrong_camera_changes_nothing(house: House, wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        before = dict(house.service.cameras)
        house.settings["cameras"] |= {"a": house.camera(lookahead=0.1), "b": house.camera(**wrong), "d": house.camera()}
        house.write()
        await house.service.reload()
        assert house.service.cameras == before and house.there() == ["a", "b", "c"]

    with caplog.at_level(logging.ERROR):
        house.run(scenario)
    assert "reload: nothing is changed" in caplog.text


def test_reloads_at_once_follow_each_other(house: House) -> None:
    async def scenario() -> None:
        house.settings["cameras"] = {name: house.camera(lookahead=0.1) for name in "abc"}
        house.write()
        first = asyncio.create_task(house.service.reload())
        await asyncio.sleep(0.02)
        house.settings["cameras"] = {name: house.camera(lookahead=0.2) for name in "ad"}
        house.write()
        await asyncio.gather(first, house.service.reload())
        assert house.there() == ["a", "d"]

    house.run(scenario)


def test_a_profile_set_during_a_reload_reaches_all_that_are_there(house: House) -> None:
    """Those that the reload starts later are started with it."""

    async def scenario() -> None:
        house.settings["cameras"] = {"b": house.camera(), "a": house.camera(lookahead=0.1), "d": house.camera()}
        house.write()
        reload = asyncio.create_task(house.service.reload())
        await asyncio.sleep(0.02)
        house.service._obey(SetProfile("", "night"))
        await reload
        assert house.there() == ["a", "b", "d"]
        rules = [house.service._word(name).rules for name in "abd"]
        assert all(one is not None and one.default.action is Action.PRIVACY for one in rules)
        assert house.service.cameras["b"].orders  # type: ignore[attr-defined]

    house.run(scenario)


def test_a_password_that_was_changed_in_its_file_holds_after_a_reload(house: House) -> None:
    async def scenario() -> None:
        before = dict(house.service.cameras)
        house.password.write_text("new\n")
        await house.service.reload()
        assert house.service.cameras == before, "nothing was to start anew"
        users = [user for mount in house.service.rtsp.mounts.values() for user in mount.users]
        users += [user for view in house.service.views().values() for user in view.users]
        assert {user.password for user in users} == {"new"} and len(users) == 7

    house.settings["cameras"]["a"]["sub"] = {"width": 320}
    house.start()
    house.run(scenario)


def test_stills_go_on_when_a_camera_is_removed_meanwhile(house: House) -> None:
    async def scenario() -> None:
        sending = asyncio.create_task(house.service._send_stills(0.01))
        await asyncio.sleep(0.03)  # a's is awaited
        del house.service.cameras["b"]
        await asyncio.sleep(0.15)
        assert not sending.done(), sending
        sending.cancel()
        house.service.cameras.clear()

    house.run(scenario)
    assert "anonymizer/c/still" in house.sent()


def test_a_camera_removed_while_the_service_was_off_is_cleared_from_the_broker(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again until the broker knows it."""

    async def nothing() -> None:
        pass

    def gone(name: str) -> bool:
        sent = house.sent()
        return sent.get(f"anonymizer/{name}/state") == sent.get(f"homeassistant/device/anonymizer_{name}/config") == b""

    house.run(nothing)
    del house.settings["cameras"]["c"]
    for reachable, again in ((False, True), (True, True), (True, False)):
        monkeypatch.setattr(Broker, "reachable", reachable)
        house.start()
        house.run(nothing)
        assert (gone("a"), gone("b"), gone("c")) == (False, False, again)
