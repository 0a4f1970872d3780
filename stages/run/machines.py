"""Several machines that run a stage together: they meet at machine 0, and hear of each other's end.

Each launcher keeps a connection to that of machine 0, with a line of JSON a message. torch alone
would not do: a process that waits for another machine may not notice for hours that it is gone.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from stages.config import paths
from stages.config.mistakes import UserError, show_line
from stages.config.params import LaunchParams

PORT = 29500
"""Where machine 0 listens if nobody chose a port; torch's own default, too."""
WAIT_S, LONGEST_WAIT_S = 600.0, 6 * 3600.0
"""For the other machines, and for the next stage, before which machine 0 may run others alone."""
DISMISS_S = 10.0
"""How long machine 0 looks for others that wait for a stage, when there are no more."""
BEAT_S, SILENT_S = 2.0, 30.0
"""How often machines send a sign of life, and how long none may come."""
TRY_S, HELLO_S = 0.5, 5.0
FOLDER_S = 60.0
"""How long a network's file system may take to show a new file to the other machines."""
MAX_LINE = 65536
LOST = (OSError, ValueError)
"""What a connection raises that was closed, is silent, or speaks of something else."""
DONE, FAILED, INTERRUPTED = 0, 1, 130
"""Exit codes of a launcher."""


class Place(NamedTuple):
    """A machine's number from 0, of how many, and where number 0 listens."""

    rank: int
    num_machines: int
    address: str
    port: int


def read_place(launch: LaunchParams, environment: Mapping[str, str]) -> Place:
    """This machine's place.

    Raises:
        UserError: A variable of the environment is missing, or can't be meant.
    """
    for name in ("MACHINE_RANK", "MASTER_ADDR"):
        if not environment.get(name):
            raise UserError(
                f"launch.num_machines is {launch.num_machines}, but the environment variable "
                f"{name} is not set; see docs/scaling.md"
            )
    port = launch.main_process_port or environment.get("MASTER_PORT") or PORT
    rank = _read_number("MACHINE_RANK", environment["MACHINE_RANK"], 0, launch.num_machines - 1)
    port = _read_number("MASTER_PORT", str(port), 1, 65535)
    return Place(rank, launch.num_machines, environment["MASTER_ADDR"], port)


def _read_number(name: str, found: str, low: int, high: int) -> int:
    if not found.isdecimal() or not low <= int(found) <= high:
        raise UserError(
            f"the environment variable {name}: found {show_line(found)}; should be {low} to {high}"
        )
    return int(found)


class Link:
    """A connection to the launcher of another machine."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._lines = connection, connection.makefile("rb")
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        """Send a message; one without content is a sign of life."""
        with self._lock:
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """The next message that says something; one of `LOST` if there is none."""
        self._connection.settimeout(timeout_s)
        while True:
            line = self._lines.readline(MAX_LINE)
            if not line:
                raise ConnectionError("closed")
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError("it speaks of something else")
            if message:
                return message


class Meeting:
    """The launchers of all machines while a stage runs.

    Attributes:
        command: The stage and its arguments; nothing if there are no more stages.
        port: Where torch's agents meet, on machine 0.
    """

    def __init__(
        self, rank: int, links: Mapping[int, Link], command: list[str], port: int = 0
    ) -> None:
        self.command, self.port = command, port
        self._rank, self._links = rank, links
        self._has_ended: set[int] = set()
        self._end_lock = threading.Lock()
        # Python writes a byte there for each signal, whoever handles it.
        self._signals, self._wake = socket.socketpair()
        for end in (self._signals, self._wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for other, link in links.items():
            threading.Thread(target=self._listen, args=(other, link), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def end(self, code: int, reason: str) -> None:
        """Tell the others how the stage ended here."""
        self._end_lock.acquire()  # for good; who has it ends this process
        signal.set_wakeup_fd(-1)
        if code == DONE:
            self._tell(done=True)
        elif code == INTERRUPTED:
            self._tell(interrupted=True)
        else:
            self._tell(failed=f"machine {self._rank} failed: {reason}")

    def refuse_latecomers(self, listener: socket.socket) -> None:
        """Answer, on machine 0, who asks for a place that is taken."""
        threading.Thread(target=self._refuse, args=(listener,), daemon=True).start()

    def _refuse(self, listener: socket.socket) -> None:
        listener.settimeout(None)
        while True:
            with suppress(*LOST), listener.accept()[0] as connection:
                link = Link(connection)
                rank = link.receive(HELLO_S).get("rank")
                if rank not in self._has_ended:  # else it is early for the next stage
                    link.send(failed=_word_taken(rank))

    def _listen(self, rank: int, link: Link) -> None:
        try:
            message = link.receive(SILENT_S)
        except LOST as error:
            self._fail(_word_loss(rank, error))
        self._has_ended.add(rank)
        if "failed" in message:
            self._fail(_clean(message["failed"]))
        if "interrupted" in message:
            self._tell(interrupted=True, but=rank)
            try:
                self._signals.recv(1)
            except BlockingIOError:  # nobody interrupted this machine
                sys.stderr.write(f"machine {rank} was interrupted\n")
                os.kill(os.getpid(), signal.SIGINT)

    def _fail(self, sentence: str) -> NoReturn:
        """End this machine's part, too; its processes end with their launcher."""
        self._end_lock.acquire()
        sys.stderr.write(f"\nerror: {sentence}\n")  # a line of its own, where a bar may be
        sys.stderr.flush()
        self._tell(failed=sentence)
        os._exit(FAILED)

    def _tell(self, but: int | None = None, **message: Any) -> None:
        for rank, link in self._links.items():
            if rank != but and rank not in self._has_ended:
                with suppress(*LOST):
                    link.send(**message)

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_S)
            self._tell()


def meet(place: Place, command: list[str]) -> Meeting:
    """Wait for the other machines; from then on this process ends soon after one of them fails.

    Args:
        place: This machine's.
        command: The stage and its arguments. Machine 0 names the stage; of others nothing means
            the one that machine 0 runs next, if any.

    Raises:
        UserError: A place is taken or missing, machines are asked for different stages, or do not
            share a folder.
    """
    return _host(place, command) if place.rank == 0 else _join(place, command)


def open_port(port: int) -> socket.socket:
    """Listen at a port of this machine, 0 for a free one.

    Raises:
        UserError: It is taken, or not for us.
    """
    try:
        return socket.create_server(("", port))
    except OSError as error:
        raise UserError(
            f"port {port} can't be used here ({os.strerror(error.errno or 0)}): another program "
            "or launcher has it; end that, or set launch.main_process_port to another"
        ) from None


def _host(place: Place, command: list[str]) -> Meeting:
    listener = open_port(place.port)
    links = _wait_for_others(listener, place, command)
    if not command:
        return Meeting(0, {}, [])
    with open_port(0) as free:
        port = free.getsockname()[1]
    token = paths.SCRATCH / f"meeting-{uuid.uuid4().hex}"
    token.parent.mkdir(exist_ok=True)
    token.touch()
    start = {"command": command, "port": port, "token": str(token), "folder": str(Path.cwd())}
    try:
        for rank, link in links.items():
            _start(rank, link, start)
    except UserError as error:
        for link in links.values():
            with suppress(*LOST):
                link.send(failed=str(error))
        raise
    finally:
        token.unlink()
    meeting = Meeting(0, links, command, port)
    meeting.refuse_latecomers(listener)
    return meeting


def _start(rank: int, link: Link, start: Mapping[str, Any]) -> None:
    try:
        link.send(**start)
        answer = link.receive(FOLDER_S + HELLO_S)
    except LOST as error:
        raise UserError(_word_loss(rank, error)) from None
    if "failed" in answer:
        raise UserError(_clean(answer["failed"]))


def _wait_for_others(listener: socket.socket, place: Place, command: list[str]) -> dict[int, Link]:
    """The others by their number; each is told at once if it can't be meant."""
    wait_s = WAIT_S if command else DISMISS_S
    deadline = time.monotonic() + wait_s
    links: dict[int, Link] = {}
    while missing := sorted({*range(1, place.num_machines)} - {*links}):
        if command:
            _note(f"waits for machine {', '.join(map(str, missing))} at port {place.port}")
        listener.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            if not command:
                break
            raise UserError(
                f"machine {missing[0]} did not come to port {place.port} within {wait_s:.0f} s; "
                f"run the same command there, with MACHINE_RANK={missing[0]} and the same "
                "MASTER_ADDR, that of this machine"
            ) from None
        link = Link(connection)
        with suppress(*LOST):
            hello = link.receive(HELLO_S)
            if problem := _find_problem(hello, links, place, command):
                link.send(failed=problem)
            elif command:
                links[hello["rank"]] = link
            else:
                link.send(command=[])
                links[hello["rank"]] = link
    return links


def _find_problem(
    hello: Mapping[str, Any], links: Mapping[int, Link], place: Place, command: list[str]
) -> str:
    """Why a machine can't take part; empty if it can."""
    rank = hello.get("rank")
    if rank not in range(1, place.num_machines):
        return f"machine 0 counts {place.num_machines} machines, and this one is number {rank}"
    if rank in links:
        return _word_taken(rank)
    if command and hello.get("command") not in ([], command):
        return f"machine 0 runs {' '.join(command)}; run the same here, or name no stage"
    return ""


def _word_taken(rank: object) -> str:
    return f"another machine has MACHINE_RANK={rank}; give each a number of its own"


def _join(place: Place, command: list[str]) -> Meeting:
    link, start = _reach(place, command)
    if not start["command"]:
        return Meeting(place.rank, {}, [])
    token, deadline = Path(start["token"]), time.monotonic() + FOLDER_S
    while not token.exists():
        if time.monotonic() > deadline:
            problem = (
                f"machine {place.rank} works in {Path.cwd()}, which is not the folder of machine "
                f"0, {start['folder']}; all machines have to share it"
            )
            link.send(failed=problem)
            raise UserError(problem)
        time.sleep(TRY_S)
    link.send(here=True)
    return Meeting(place.rank, {0: link}, start["command"], start["port"])


def _reach(place: Place, command: list[str]) -> tuple[Link, dict[str, Any]]:
    """The connection to machine 0, and its word to start."""
    wait_s = WAIT_S if command else LONGEST_WAIT_S
    deadline, main = time.monotonic() + wait_s, f"machine 0 at {place.address}:{place.port}"
    is_noted = False
    while True:
        try:
            connection = socket.create_connection((place.address, place.port), HELLO_S)
            link = Link(connection)
            link.send(rank=place.rank, command=command)
            start = link.receive(WAIT_S + HELLO_S)
        except LOST as error:
            reason = getattr(error, "strerror", None) or str(error)
        else:
            if "failed" in start:
                raise UserError(_clean(start["failed"]))
            return link, start
        if not is_noted:
            _note(f"waits for {main} ({reason})")
            is_noted = True
        if time.monotonic() > deadline:
            raise UserError(
                f"{main} did not answer within {wait_s:.0f} s ({reason}); start the stage there, "
                "look whether MASTER_ADDR and the port are right, and that no firewall is between"
            )
        time.sleep(TRY_S)


def _clean(sentence: object) -> str:
    """What another machine says, on one line."""
    return show_line(str(sentence), limit=None)


def _word_loss(rank: int, error: Exception) -> str:
    silent = isinstance(error, TimeoutError)
    what = f"it gave no sign of life for {SILENT_S:.0f} s" if silent else "its launcher was killed"
    return f"machine {rank} is gone: {what}"


def _note(text: str) -> None:
    sys.stderr.write(f"launch: {text}\n")
    sys.stderr.flush()
