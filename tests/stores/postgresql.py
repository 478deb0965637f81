"""A PostgreSQL server of the tests' own."""

import shutil
import signal
from pathlib import Path

from tests.stores.server import Server


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    path = str(found[0]) if found else shutil.which(name)
    assert path, f"{name} is not installed"
    return path


class PostgreSQL(Server):
    """One database without durability; the user test needs no password."""

    user = "postgres"
    stop_signal = signal.SIGINT

    @property
    def url(self) -> str:
        """For SQLAlchemy with psycopg."""
        return f"postgresql+psycopg://test@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        self.run([program("initdb"), "-D", "data", "-U", "test", "--auth=trust", "--no-sync", "-E", "UTF8"])

    def command(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.directory,
            "fsync": "off",
            "shared_buffers": "16MB",
            "autovacuum": "off",
        }
        options = [each for name, value in settings.items() for each in ("-c", f"{name}={value}")]
        return [program("postgres"), "-D", "data", *options]

    def ready(self) -> bool:
        return super().ready() and "ready to accept connections" in self.log()
