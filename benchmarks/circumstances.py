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
    """How fast the machine was, in the median of each round, and whether its processors might sleep."""
    rounds = [[each["loop_ns"] for each in one["measurements"] if "loop_ns" in each] for one in raw["rounds"]]
    said = "processors kept from sleeping; " if raw.get("awake") else ""
    if all(rounds):
        medians = ", ".join(f"{statistics.median(times):.0f}" for times in rounds)
        said += f"nanoseconds that a step of an empty Python loop took in each round: {medians}; "
    return said
