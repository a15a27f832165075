"""What was measured of networks, printed."""

from __future__ import annotations

from rich.text import Text

from dropkd.cli.console import errors, output
from dropkd.cli.listings import say_count
from dropkd.cli.tables import add_row, make_table, print_heading, print_line
from dropkd.costing.record import CostRecord, NetworkCost, Timing
from dropkd.files import say_bytes

__all__ = ["print_record", "say_milliseconds"]


def print_record(record: CostRecord) -> None:
    """Print sizes, times and memory of networks, how a student stands to its teacher, and what could not be had."""
    _print_sizes(record)
    _print_times(record)
    for line in _compare_roles(record):
        output.print(Text(line), soft_wrap=True)
    machine = record.machine
    print_line("machine", f"{machine['processor']}, {machine['cores']} cores; device {machine['device']}")
    if record.was_busy:
        _print_aside(
            "warning",
            f"the machine was busy (load {machine['load']} on {machine['cores']} cores), which makes times longer, and "
            "long calls more so than short ones: measure again when it is idle.",
        )
    for network in record:
        for note in network.notes:
            _print_aside("note", f"{_call(network)}: {note}")


def say_milliseconds(seconds: float, *, unit: bool = True) -> str:
    """Return a time in milliseconds to three digits.

    Example:
        >>> say_milliseconds(0.0009271), say_milliseconds(0.0627), say_milliseconds(1.2345)
        ('0.927 ms', '62.7 ms', '1,234 ms')
    """
    value = 1000 * seconds
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}{' ms' if unit else ''}"


def _print_sizes(record: CostRecord) -> None:
    table = make_table("network", "model", "image", "parameters", "multiply-adds", "weights", "files")
    for network in record:
        files = ", ".join(f"{name} {say_bytes(size)}" for name, size in network.files.items())
        numbers = [_say(network.parameters), _say(network.macs)]
        weights = "-" if network.bytes is None else say_bytes(network.bytes)
        size = "x".join(map(str, network.image_size))
        add_row(table, _call(network), network.architecture, size, *numbers, weights, files or "-")
    print_heading("What is known without running them")
    output.print(table)
    for network in record:
        if network.deployed_parameters != network.parameters:
            left = f"{_say(network.deployed_parameters)} parameters, {_say(network.deployed_macs)} multiply-adds"
            said = f"{_call(network)} is timed as it is deployed, its blocks fused: {left}."
            output.print(Text(said), soft_wrap=True)


def _print_times(record: CostRecord) -> None:
    heads = ("network", "runtime", "threads", "batch", "p50", "95 % interval", "p95", "images/s", "calls")
    table = make_table(*heads, "peak memory", "without")
    timings = [timing for network in record for timing in network.timings]
    settings = list(dict.fromkeys((timing.threads, timing.batch) for timing in timings))
    for setting in settings:
        table.add_section()
        for network in record:
            for timing in network.timings:
                if (timing.threads, timing.batch) == setting:
                    add_row(table, *_describe_timing(network, timing))
    print_heading("Time of a batch, and the most memory of a process of its own, with and without libraries")
    output.print(table)
    if not all(timing.latency.settled for timing in timings):
        output.print("* Time was up before the median was known to 2 %: a longer --seconds makes it surer.")


def _describe_timing(network: NetworkCost, timing: Timing) -> list[object]:
    latency, speed = timing.latency, timing.images_per_second
    peak = network.find_memory(timing)
    low, high = (say_milliseconds(bound, unit=False) for bound in latency.interval)
    return [
        _call(network),
        timing.runtime if timing.file in (None, "student.onnx") else f"{timing.runtime}, {timing.file}",
        timing.threads,
        timing.batch,
        say_milliseconds(latency.p50),
        f"{low} to {high}",
        say_milliseconds(latency.p95),
        f"{speed:,.1f}" if speed < 100 else f"{speed:,.0f}",
        f"{latency.calls}{'' if latency.settled else '*'}",
        "-" if peak is None else say_bytes(peak.peak),
        "-" if peak is None else say_bytes(peak.peak - peak.libraries),
    ]


def _compare_roles(record: CostRecord) -> list[str]:
    """Say how much faster a student is than its teacher, at one image and one thread or what is nearest to that."""
    student, teacher = record.of_role("student"), record.of_role("teacher")
    # Of several students there is no one sentence.
    if student is None or teacher is None or sum(network.role == "student" for network in record) > 1:
        return []
    timing = next((t for t in student.timings if t.runtime == "torch"), None)
    other = None if timing is None else teacher.find_timing("torch", timing.batch, timing.threads)
    if timing is None or other is None:
        return []
    if not (timing.latency.is_sure and other.latency.is_sure):
        return ["How much faster the student is than its teacher is not sure enough to be said: see the intervals."]
    ratio = other.latency.p50 / timing.latency.p50
    how = f"{ratio:.1f} times as fast as" if ratio >= 1 else f"{1 / ratio:.1f} times slower than"
    threads = f"{timing.threads} thread{'' if timing.threads == 1 else 's'}"
    return [f"The student is {how} its teacher (torch, batch {timing.batch}, {threads})."]


def _print_aside(kind: str, words: str) -> None:
    errors.print(Text.assemble((f"{kind}: ", "bold yellow"), words), soft_wrap=True)


def _say(number: int | None) -> str:
    return "-" if number is None else say_count(number)


def _call(network: NetworkCost) -> str:
    """Return a network's name with its role."""
    role = f"({network.role})"
    return network.name if network.role == "network" or network.name.endswith(role) else f"{network.name} {role}"
