"""One paragraph on where and when figures were taken: pure."""

import statistics

from benchmarks.figures import Raw


def circumstances(raw: Raw) -> str:
    """The machine, the brokers, the rounds, and how busy the machine was."""
    machine = raw["machine"]
    brokers = ", ".join(f"{name} {version}" for name, version in raw["brokers"].items())
    rounds = len(raw["rounds"])
    busy = ", ".join(str(each["busy"]) for each in raw["rounds"])
    return (
        f"Measured {raw['started'][:10]} at revision `{raw['revision']}` on "
        f"{machine['processors']} processors ({machine['processor']}), {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}, {brokers}; "
        f"{rounds} {'round' if rounds == 1 else 'rounds'}, {raw['plan']['tasks']:,} tasks; "
        f"load average at the beginning {raw['rounds'][0]['load'][0]}, processors that other "
        f"programs kept busy before each round: {busy}; {_pace(raw)}it took {raw['minutes']} minutes."
    )


def _pace(raw: Raw) -> str:
    """How long a bare LPUSH took, in the median of what was measured in each round."""
    rounds = [[each["push_us"] for each in one["measurements"] if "push_us" in each] for one in raw["rounds"]]
    if not all(rounds):
        return ""
    medians = ", ".join(f"{statistics.median(times):.0f}" for times in rounds)
    return f"one LPUSH on a bare socket took so many µs in each round: {medians}; "
