"""URLs that may be shown: of one server or several, with whatever in them is secret masked.

A password may itself hold what separates servers and names (`;`, `,`, `:`, `@`).  Where it cannot be told
which of it is a password, all that may be one is masked.
"""

from __future__ import annotations

import re
from itertools import pairwise

MASK = "********"

#: Before a URL of its own within a list.
_NEXT_URL = re.compile(r"[;,](?=[\w.+-]+://)")
_AUTHORITY = re.compile(r"[^/?#]*")
_SERVERS = re.compile(r"([;,])")
#: A server as it stands in a list: host, perhaps a port.
_SERVER = re.compile(r"(?:[\w.-]+|\[[\w:.%]+\])(?::\d+)?")
#: What Azure's connection strings and queries of URLs hold.
_KEYS = re.compile(r"(?i)\b(AccountKey|SharedAccessKey|SharedAccessSignature)=[^;]*")
_QUERY = re.compile(r"(?i)(?<=[?&])(sig|password|passwd|secret|token)=[^&;#]*")


def masked(url: str, mask: str = MASK) -> str:
    """The URL (or a list of them, with ; or , between) with the mask for each password."""
    text = str(url)
    if "://" not in text:
        return text
    places = [0, *(match.end() for match in _NEXT_URL.finditer(text)), len(text)]
    parts = (text[begin:end] for begin, end in pairwise(places))
    shown = "".join(_one(part, mask) for part in parts)
    shown = _KEYS.sub(lambda match: f"{match[1]}={mask}", shown)
    return _QUERY.sub(lambda match: f"{match[1]}={mask}", shown)


def _one(url: str, mask: str) -> str:
    scheme, separator, rest = url.partition("://")
    found = _AUTHORITY.match(rest)
    authority = found[0] if found else ""
    last = rest.rfind("@")
    if len(authority) <= last and "@" not in authority and not _looks_like_servers(authority):
        authority = rest[: last + 1]  # a password with a slash, a question mark or a number sign in it
        authority += _AUTHORITY.match(rest, last + 1)[0]  # type: ignore[index]
    return f"{scheme}{separator}{_servers(authority, mask)}{rest[len(authority) :]}"


def _looks_like_servers(authority: str) -> bool:
    return "=" in authority or all(_SERVER.fullmatch(each) for each in re.split("[;,]", authority) if each)


def _servers(authority: str, mask: str) -> str:
    pieces = _SERVERS.split(authority)
    servers = pieces[::2]
    if any("@" in each for each in servers) and not _are_servers(servers):
        return _login(authority, mask)
    shown = ""
    for separator, server in zip(["", *pieces[1::2]], servers, strict=True):
        if server:
            shown += (separator if shown else "") + (_login(server, mask) if "@" in server else server)
    # The separator before a URL that follows.
    return shown + (pieces[-2] if len(pieces) > 1 and not servers[-1] else "")


def _are_servers(servers: list[str]) -> bool:
    """Whether each is one, with or without a login; the first has one where any has."""
    given = [each for each in servers if each]
    if "@" not in given[0]:
        return False
    return all(
        _SERVER.fullmatch(host) and "@" not in login and (not at or ":" in login or len(given) == 1)
        for login, at, host in (each.rpartition("@") for each in given)
    )


def _login(server: str, mask: str) -> str:
    login, _, host = server.rpartition("@")
    name, colon, _ = login.partition(":")
    if not colon:
        # A name without a password is none to hide, but for what cannot be a name.
        return f"{mask}@{host}" if "@" in login or re.search("[;,]", login) else server
    return f"{name}:{mask}@{host}"
