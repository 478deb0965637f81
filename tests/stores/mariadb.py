"""A MariaDB server of the tests' own."""

import os

from tests.stores.server import Server


class MariaDB(Server):
    """One server without durability; root needs no password."""

    user = "mysql"

    @property
    def url(self) -> str:
        """For SQLAlchemy with PyMySQL."""
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/test"

    def prepare(self) -> None:
        self.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={self.directory}/data",
                "--auth-root-authentication-method=normal",
                "--skip-name-resolve",
                "--skip-log-bin",
            ]
        )

    def command(self) -> list[str]:
        return [
            "mariadbd",
            "--no-defaults",
            f"--datadir={self.directory}/data",
            f"--socket={self.directory}/socket",
            f"--pid-file={self.directory}/pid",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-networking=0",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=16M",
            "--performance-schema=OFF",
            *([] if os.geteuid() else [f"--user={self.user}"]),
        ]

    def ready(self) -> bool:
        return super().ready() and "ready for connections" in self.log()
