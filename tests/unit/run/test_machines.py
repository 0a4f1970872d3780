import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.config.mistakes import UserError
from stages.run import machines
from stages.run.machines import Link, Meeting, Place, meet, read_place
from tests.unit.run.test_launch import build_launch

PLACE = {"MACHINE_RANK": "1", "MASTER_ADDR": "10.0.0.1"}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Short waits, a folder of its own, and machines that are threads."""
    for name, value in {"WAIT_S": 0.3, "TRY_S": 0.01, "FOLDER_S": 0.3, "DISMISS_S": 0.3}.items():
        monkeypatch.setattr(machines, name, value)
    monkeypatch.setattr("signal.set_wakeup_fd", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "WAIT_S", 30.0)


def test_the_port_is_29500_unless_one_is_chosen() -> None:
    several = {"num_machines": 2}
    assert read_place(build_launch(**several), PLACE) == (1, 2, "10.0.0.1", 29500)
    asked = PLACE | {"MASTER_PORT": "2000"}
    assert read_place(build_launch(**several), asked).port == 2000
    assert read_place(build_launch(**several, main_process_port=3000), asked).port == 3000


@pytest.mark.parametrize("name", PLACE)
def test_a_machine_without_its_place_is_told_what_is_missing(name: str) -> None:
    place = {key: value for key, value in PLACE.items() if key != name}
    with pytest.raises(UserError, match=f"the environment variable {name} is not set"):
        read_place(build_launch(num_machines=2), place)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("MACHINE_RANK", "2", "0 to 1"),
        ("MACHINE_RANK", "-1", "0 to 1"),
        ("MACHINE_RANK", "first", "0 to 1"),
        ("MASTER_PORT", "70000", "1 to 65535"),
    ],
)
def test_a_place_that_cannot_be_is_told(name: str, value: str, allowed: str) -> None:
    message = f"the environment variable {name}: found {value}; should be {allowed}"
    with pytest.raises(UserError, match=message):
        read_place(build_launch(num_machines=2), PLACE | {name: value})


def test_machines_agree_on_stage_and_port(port: int, patient: None) -> None:
    main, other = gather(port, ["sample", "baseline"], [])
    assert main.command == other.command == ["sample", "baseline"]
    assert main.port == other.port not in (0, port)
    assert list(Path("scratch").iterdir()) == []


def test_machine_1_may_come_first(port: int, patient: None, capsys) -> None:
    early = in_background(lambda: meet(place(1, port), ["finetune"]))
    while not (noted := capsys.readouterr().err):
        pass
    assert noted == f"launch: waits for machine 0 at 127.0.0.1:{port} (Connection refused)\n"
    meet(place(0, port), ["finetune"])
    assert early().command == ["finetune"]


def test_a_machine_that_does_not_come_is_named(port: int) -> None:
    with pytest.raises(UserError, match=r"machine 1 did not come to port \d+ within 0 s; run the"):
        meet(place(0, port), ["finetune"])


def test_a_machine_0_that_does_not_answer_is_named(port: int) -> None:
    with pytest.raises(UserError, match=rf"127.0.0.1:{port} did not answer .*Connection refused"):
        meet(place(1, port), ["finetune"])


def test_an_address_that_is_none_is_named(port: int) -> None:
    with pytest.raises(UserError, match=r"machine 0 at nowhere\.invalid:\d+ did not answer .*look"):
        meet(place(1, port)._replace(address="nowhere.invalid"), ["finetune"])


def test_a_port_that_is_taken_is_named(port: int) -> None:
    with (
        socket.create_server(("", port)),
        pytest.raises(
            UserError, match=rf"port {port} can't be used here \(Address already in use\)"
        ),
    ):
        meet(place(0, port), ["finetune"])


def test_a_number_that_two_machines_have_is_told_to_the_second(port: int, patient: None) -> None:
    gather(port, ["finetune"], ["finetune"])
    with pytest.raises(UserError, match="another machine has MACHINE_RANK=1"):
        meet(place(1, port), ["finetune"])


def test_the_same_is_told_while_others_are_awaited(port: int, patient: None) -> None:
    three = [place(rank, port)._replace(num_machines=3) for rank in range(3)]
    main = in_background(lambda: meet(three[0], ["finetune"]))
    others = [in_background(lambda: meet(three[1], ["finetune"])) for _ in range(2)]
    meet(three[2], ["finetune"])
    main()
    ends = [outcome(other) for other in others]
    assert sorted(end[:23] for end in ends) == ["another machine has MAC", "finetune"]


def test_machines_that_are_asked_for_different_stages_are_told(port: int, patient: None) -> None:
    in_background(lambda: meet(place(0, port), ["sample", "baseline"]))
    with pytest.raises(UserError, match="machine 0 runs sample baseline; run the same here"):
        meet(place(1, port), ["finetune"])


def test_a_machine_that_counts_others_is_told(port: int, patient: None) -> None:
    in_background(lambda: meet(place(0, port), ["finetune"]))
    with pytest.raises(UserError, match="machine 0 counts 2 machines, and this one is number 2"):
        meet(place(2, port)._replace(num_machines=3), ["finetune"])


def test_machines_that_do_not_share_a_folder_are_told(
    port: int, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: False)
    main = in_background(lambda: meet(place(0, port), ["finetune"]))
    with pytest.raises(UserError, match="which is not the folder of machine 0, /") as caught:
        meet(place(1, port), ["finetune"])
    assert outcome(main) == str(caught.value)


def test_what_speaks_of_something_else_is_no_machine(port: int, patient: None) -> None:
    main = in_background(lambda: meet(place(0, port), ["finetune"]))
    for text in (b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b"\xff\n", b""):
        connect(port, text)
    assert meet(place(1, port), ["finetune"]).command == main().command


def test_without_a_stage_machine_0_sends_the_others_home(port: int) -> None:
    main, other = gather(port, [], [])
    assert main.command == other.command == []
    assert meet(place(0, port), []).command == []  # nobody waits


@pytest.mark.parametrize(
    ("code", "end"),
    [
        (0, {"done": True}),
        (130, {"interrupted": True}),
        (1, {"failed": "machine 1 failed: process 1: no"}),
    ],
)
def test_the_others_are_told_how_a_stage_ended(code: int, end: dict) -> None:
    link, far = (Link(side) for side in socket.socketpair())
    Meeting(1, {0: link}, ["finetune"]).end(code, "process 1: no")
    assert far.receive(5.0) == end


@pytest.mark.parametrize(
    ("word", "line"),
    [
        (b'{"failed": "machine 2 failed: process 2: no"}\n', "machine 2 failed: process 2: no"),
        (b'{"failed": "two\\nlines\\u001b"}\n', "two lines\\x1b"),
        (b"", "machine 0 is gone: its launcher was killed"),
        (b"{}\n{}\n{", "machine 0 is gone: "),
    ],
)
def test_the_end_of_another_machine_is_one_line_and_the_end_here(
    word: bytes, line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    codes, ended = end_threads_instead(monkeypatch)
    near, far = socket.socketpair()
    Meeting(1, {0: Link(near)}, ["finetune"])
    far.sendall(word)
    far.close()
    assert ended.wait(5.0)
    assert codes == [1]
    blank, told = capfd.readouterr().err.splitlines()
    assert blank == ""
    assert told.startswith(f"error: {line}")


def test_a_machine_that_gives_no_sign_of_life_is_gone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    _, ended = end_threads_instead(monkeypatch)
    monkeypatch.setattr(machines, "SILENT_S", 0.1)
    near, _far = socket.socketpair()
    Meeting(1, {0: Link(near)}, ["finetune"])
    assert ended.wait(5.0)
    assert "machine 0 is gone: it gave no sign of life for 0 s" in capfd.readouterr().err


def test_signs_of_life_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "BEAT_S", 0.01)
    near, far = socket.socketpair()
    meeting = Meeting(1, {0: Link(near)}, ["finetune"])
    far.settimeout(5.0)
    assert far.recv(3) == b"{}\n"
    meeting.end(0, "")  # or the end of `far` would be that of this process


def end_threads_instead(patch: pytest.MonkeyPatch) -> tuple[list[int], threading.Event]:
    """Let the end of the process be that of the thread; its exit codes, and when it has come."""
    codes, ended = [], threading.Event()

    def end(code: int) -> None:
        codes.append(code)
        ended.set()
        threading.Event().wait()

    patch.setattr(os, "_exit", end)
    return codes, ended


def place(rank: int, port: int) -> Place:
    return Place(rank, 2, "127.0.0.1", port)


def gather(port: int, *commands: list[str]) -> list[Meeting]:
    """Let machines 0, 1, ... meet."""
    waiting = [
        in_background(lambda rank=rank, command=command: meet(place(rank, port), command))
        for rank, command in enumerate(commands)
    ]
    return [wait() for wait in waiting]


def in_background(work: Callable[[], Meeting]) -> Callable[[], Meeting]:
    """Begin; the function that is given back waits for the result."""
    results: list[Meeting | Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except UserError as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait() -> Meeting:
        thread.join(20.0)
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    return wait


def outcome(wait: Callable[[], Meeting]) -> str:
    try:
        return " ".join(wait().command)
    except UserError as error:
        return str(error)


def connect(port: int, text: bytes) -> None:
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(text)
            return
        except ConnectionRefusedError:
            pass
