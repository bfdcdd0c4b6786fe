#!/usr/bin/python3
"""Draw docs/benchmarks.svg and docs/soak.svg from the figures in docs/data.

    charts.py [benchmarks] [soak]

The experiments write the figures. Needs python3-matplotlib.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, MaxNLocator

DOCS = Path(__file__).parent.parent
WIDTH = 8.6  # inches
OURS, OTHER, BLUE, RED = "#1f7a5c", "#a9b1bb", "#3b6fb5", "#c4432b"
INK, PALE, GRID = "#24292f", "#57606a", "#eaeef2"
STYLE = {
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "semibold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",  # write text as text, not as paths
    "svg.hashsalt": "execsnoopd",  # write the same bytes for the same figures
}


def heading(figure, title, subtitle):
    figure.text(0.025, 1 - 0.3 / figure.get_figheight(), title, size=14, weight="semibold", va="center")
    figure.text(0.025, 1 - 0.55 / figure.get_figheight(), subtitle, color=PALE, va="center")


def save(figure, name):
    """Save with a white background, so that the chart is readable on a dark page."""
    figure.savefig(DOCS / f"{name}.svg", facecolor="white", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def bars(axes, tools, values, labels, spreads, reference):
    """Draw a bar for each tool, from top to bottom. A tool that was not measured gets no bar."""
    places = range(len(tools))
    axes.barh(places, [value or 0 for value in values], 0.65,
              color=[OURS if tool["is_ours"] else OTHER for tool in tools])
    axes.axvline(reference, color=PALE, linestyle=(0, (3, 3)), linewidth=1)
    for place, value, label, spread in zip(places, values, labels, spreads):
        end = value or 0
        if spread:
            axes.plot(spread, (place, place), color=INK, linewidth=1.5)
            end = max(end, spread[1])
        axes.annotate("not measured" if value is None else label, (end, place), (8, 0), textcoords="offset points",
                      va="center", color=PALE if value is None else INK)
    axes.set_yticks(places, [tool["name"] for tool in tools], color=INK)
    for place, text in zip(places, axes.get_yticklabels()):
        text.set_fontweight("semibold" if tools[place]["is_ours"] else "normal")
    axes.set_xticks([])
    axes.grid(False)
    axes.invert_yaxis()


def percent(tool):
    """Format the share of execs counted, rounded down, so that only a complete count is 100 %."""
    if tool["counted"] == tool["made"]:
        return "100 %"
    return f"{tool['counted'] * 10000 // tool['made'] / 100:.2f} %"


def draw_benchmarks(figures):
    tools = figures["tools"]
    slowdowns = [tool["slowdown"] for tool in tools]
    figure, (cost, counted) = plt.subplots(2, figsize=(WIDTH, 1.7 + 0.68 * len(tools)))
    figure.subplots_adjust(left=0.26, right=0.9, top=1 - 1.05 / figure.get_figheight(), bottom=0.02, hspace=0.16)
    heading(figure, "Cost of watching execs, and share of execs counted", f"{figures['machine']}, {figures['date']}")
    cost.set_title("Exec slowdown in a storm on one CPU (median and quartiles; 1.0x: no tool attached)", x=-0.367)
    medians = [slowdown and slowdown["median"] for slowdown in slowdowns]
    bars(cost, tools, medians, [f"{median or 0:.2f}x" for median in medians],
         [slowdown and (slowdown["low"], slowdown["high"]) for slowdown in slowdowns], 1)
    counted.set_title("Execs counted in a storm on all CPUs (100 %: all of them)", x=-0.367)
    shares = [tool["counted"] / tool["made"] if tool["made"] else None for tool in tools]
    bars(counted, tools, shares, [percent(tool) if tool["made"] else "" for tool in tools], [None] * len(tools), 1)
    save(figure, "benchmarks")


def grouped(value, _=None):
    """Format a whole number with its digits in groups of three."""
    return f"{value:,.0f}".replace(",", "\N{THIN SPACE}").replace("-", "\N{MINUS SIGN}")


def draw_soak(figures):
    minutes = [at / 60 for at in figures["at_s"]]
    figure, panels = plt.subplots(5, figsize=(WIDTH, 8.4), sharex=True, height_ratios=[4, 4, 4, 4, 2.4])
    figure.subplots_adjust(left=0.09, right=0.975, top=1 - 1.05 / figure.get_figheight(), bottom=0.055, hspace=0.4)
    memory, descriptors, rate, difference, events = panels
    heading(figure, f"{figures['minutes']:g} minutes on a busy host",
            f"{figures['machine']}, {figures['date']}; other work used {figures['other_work_percent']:.0f} % of the machine")

    def lines(axes, title, *names):
        axes.set_title(title, x=-0.075)
        for name, column, color in names:
            axes.plot(minutes, figures[column], color=color, linewidth=1.5, label=name)

    lines(memory, "Memory, MB", ("resident", "resident_mb", OURS), ("anonymous part of it", "anonymous_mb", BLUE),
          ("BPF maps, in addition", "maps_mb", PALE))
    lines(descriptors, "Descriptors and threads", ("descriptors, with connections", "descriptors", OURS),
          ("threads", "threads", BLUE))
    lines(rate, "Per second")
    # The first sample has no rate, because no sample precedes it.
    rate.plot(minutes[1:], figures["execs_per_second"][1:], color=OURS, linewidth=1.5, label="execs")
    lost = [(at, value) for at, value in zip(minutes, figures["lost_per_second"]) if value > 0]
    rate.vlines([at for at, _ in lost], 1, [value for _, value in lost], color=RED, linewidth=3,
                label="execs and exits counted without detail")
    rate.set_yscale("log")
    # If no exec is missing, the two lines coincide at 0.
    lines(difference, "Difference in execs (0 is correct)", ("sums of views", "views_difference", BLUE),
          ("ledger", "ledger_difference", OURS))
    for axes in memory, descriptors:
        axes.set_ylim(0, max(axes.get_ylim()[1], 1))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
    rate.set_ylim(1, 10 ** len(str(int(max(figures["execs_per_second"] + figures["lost_per_second"] + [10])))))
    rate.yaxis.set_major_locator(LogLocator(numticks=99))  # a tick at each power of ten
    rate.minorticks_off()
    if not any(figures["ledger_difference"] + figures["views_difference"]):
        difference.set_ylim(-1.2, 1.2)
    difference.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    for axes in panels[:4]:
        axes.yaxis.set_major_formatter(grouped)
        axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.97), ncols=3, labelcolor="linecolor", handlelength=1,
                    handletextpad=0.4)
    rows = [("storms", "storms_s", OURS), ("stops", "stops_s", RED), ("reloads", "reloads_s", BLUE)]
    for place, (_, column, color) in enumerate(rows):
        events.plot([at / 60 for at in figures[column]], [place] * len(figures[column]), "o", markersize=5, color=color)
    events.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    events.set_ylim(len(rows) - 0.5, -0.5)
    events.grid(axis="y", visible=False)
    events.set_xlim(0, figures["minutes"])
    events.set_xlabel("minutes", color=PALE)
    save(figure, "soak")


DRAW = {"benchmarks": draw_benchmarks, "soak": draw_soak}


def main():
    plt.rcParams.update(STYLE)
    for name in sys.argv[1:] or DRAW:
        DRAW[name](json.loads((DOCS / f"data/{name}.json").read_text(encoding="utf-8")))


main()
