"""The servers of these tests as containers of our own image: ADGENX_TEST_SERVERS=containers.

They are started by testcontainers on the engine that DOCKER_HOST names, from the image that
ADGENX_TEST_IMAGE names (`adgenx:test`), on the machine's own network: everything else, ports and
configuration files, is as it is for child processes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from bus.processes import ServerProcess

IMAGE_VARIABLE = "ADGENX_TEST_IMAGE"
testcontainers_config.ryuk_disabled = True
"""Its reaper is an image of its own, which no registry gives us: each test removes its own."""


class ContainerProcess(ServerProcess):
    """A server in a container, used as if it were a child process."""

    def __init__(
        self, name: str, folder: Path, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name, folder, argv, env)
        program, *arguments = argv
        self._container = (
            DockerContainer(os.environ.get(IMAGE_VARIABLE, "adgenx:test"))
            .with_command([Path(program).name, *arguments])
            .with_volume_mapping(folder, str(folder), "rw")
            .with_kwargs(
                network_mode="host",
                user=f"{os.getuid()}:{os.getgid()}",
                working_dir=str(folder),
                cap_drop=["ALL"],
                read_only=True,
            )
            .with_tmpfs_mount("/tmp")  # noqa: S108 - of the container
        )
        self._made = False

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        if not self._made:
            return False
        self._container.reload()
        return self._container.status == "running"

    @property
    def pid(self) -> int | None:
        """The process id of its first process, on this machine."""
        if not self.alive:
            return None
        return int(self._container.get_wrapped_container().attrs["State"]["Pid"])

    def start(self) -> None:
        """Make it, or start the one that was killed again, with all that it kept."""
        if self._made:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._made = True

    def end_stale(self) -> None:
        """Nobody else's container is ours."""

    def kill(self) -> None:
        """SIGKILL it and wait."""
        if self.alive:
            self._container.get_wrapped_container().kill()
            self._container.wait()

    def stop(self, seconds: float = 10.0) -> None:
        """Ask it to end, and kill it when it has not after so long. Blocks."""
        if self.alive:
            self._container.get_wrapped_container().stop(timeout=int(seconds))

    def remove(self) -> None:
        """Take it away."""
        if self._made:
            self._container.stop()
            self._made = False

    def tail(self) -> str:
        """Return the end of what it said."""
        if not self._made:
            return ""
        return b"".join(self._container.get_logs())[-2000:].decode("utf-8", "replace")
