"""A Memcached server of the tests' own."""

from tests.stores.server import Server


class Memcached(Server):
    """One server with little memory."""

    user = "nobody"

    @property
    def url(self) -> str:
        """As result_backend has it."""
        return f"cache+memcached://127.0.0.1:{self.port}/"

    def command(self) -> list[str]:
        return ["memcached", "-l", "127.0.0.1", "-p", str(self.port), "-m", "32"]
