"""The figures as a picture for the README: SVG is text, and needs no library."""

from collections.abc import Mapping
from html import escape
from typing import Any

OURS, SYNCS, THEIRS, INK = "#2f6f9f", "#9dc3dd", "#c98a3b", "#333333"
LEFT, WIDTH, BAR, GAP = 250, 420, 18, 8


def plot(report: Mapping[str, Any]) -> str:
    """Bars for one cluster of five, and for one member of a fleet."""
    one, fleet = report["one_cluster"]["5 members, layout separate"], report["fleet"]
    share = fleet["loop_members_measured"]
    groups = [
        (
            "Five members, whole process (seconds)",
            [
                ("imagegen", one["imagegen"]["seconds"], OURS),
                ("imagegen, synced to disk", one["imagegen_on_disk"]["seconds"], SYNCS),
                ("cfssl, envsubst, cloud-localds", one["loop"]["seconds"], THEIRS),
            ],
            1,
        ),
        (
            f"One member of {fleet['members']:,} (milliseconds)",
            [
                (
                    f"imagegen --jobs {fleet['imagegen_jobs']['jobs']}",
                    fleet["imagegen_jobs_per_member"]["seconds"],
                    OURS,
                ),
                ("imagegen", fleet["imagegen_per_member"]["seconds"], OURS),
                (
                    "imagegen, synced to disk",
                    fleet["imagegen_on_disk_per_member"]["seconds"],
                    SYNCS,
                ),
                (f"the loop (of {share})", fleet["loop_per_member"]["seconds"], THEIRS),
            ],
            1000,
        ),
    ]
    lines, y = [], 24
    for title, bars, factor in groups:
        lines.append(f'<text x="12" y="{y}" font-weight="bold">{escape(title)}</text>')
        y += 14
        longest = max(value for _, value, _ in bars)
        for name, value, colour in bars:
            length = max(1, round(WIDTH * value / longest))
            lines += [
                f'<text x="{LEFT - 10}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
                f'<rect x="{LEFT}" y="{y}" width="{length}" height="{BAR}" fill="{colour}"/>',
                f'<text x="{LEFT + length + 6}" y="{y + 13}">{value * factor:.3g}</text>',
            ]
            y += BAR + GAP
        y += 22
    width, height = LEFT + WIDTH + 70, y - 10
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="13" fill="{INK}">'
    )
    ground = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, ground, *lines, "</svg>", ""])
