#!/usr/bin/python3
"""Draw the rows of a Grafana dashboard from the results of its own queries.

    dashboard.py DASHBOARD.json PROMETHEUS-URL SECONDS DIRECTORY

Evaluates the queries of each panel in Prometheus over the last SECONDS seconds, and draws the panel
at its place in the dashboard's grid and with its unit. Writes one PNG for each row. The pictures are
not screenshots of Grafana.
"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import PowerNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import MultipleLocator

WIDTH, UNIT = 15.0, 0.36  # inches: width of the picture, height of a grid unit
DPI = 100
RATE_INTERVAL = "10s"  # what Grafana uses if there is a scrape every second
PALETTE = "#5794f2 #73bf69 #ff9830 #b877d9 #f2cc0c #8ab8ff #ff7383 #37872d #fade2a #a352cc #1f60c4 #c4162a".split()
COLORS = {"red": "#e02f44", "green": "#37872d", "blue": "#5794f2", "orange": "#ff9830", "text": "#24292e"}
INK, PALE, FRAME = "#24292e", "#6e7781", "#d0d7de"
PLAIN = {"parse_math": False}  # names can contain $


class Prometheus:
    def __init__(self, url, seconds):
        self.url, self.end, self.seconds = url, int(time.time()), seconds

    def ask(self, expr, over_range):
        for name in ("job", "instance"):
            expr = expr.replace(f"${name}", ".+")
        for name, value in (("rate_interval", RATE_INTERVAL), ("range_s", f"{self.seconds}"), ("range", f"{self.seconds}s")):
            expr = expr.replace(f"$__{name}", value)
        query = {"query": expr, "time": self.end, "start": self.end - self.seconds, "end": self.end, "step": 1}
        api = "query_range" if over_range else "query"
        answer = urllib.request.urlopen(f"{self.url}/api/v1/{api}?{urllib.parse.urlencode(query)}")
        return json.load(answer)["data"]["result"]

    def series(self, panel):
        """Yield the name, the times since the start, and the values of each series of a panel."""
        for target in panel["targets"]:
            for one in self.ask(target["expr"], True):
                name = re.sub(r"{{(\w+)}}", lambda m: one["metric"].get(m[1], ""), target["legendFormat"]).strip()
                at = [when - self.end + self.seconds for when, _ in one["values"]]
                yield name, at, [float(value) for _, value in one["values"]]


def shown(value, unit):
    """Format a value as Grafana does for this unit."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        for factor, name in ((1e-3, "ms"), (1, "s"), (60, "min")):
            if abs(value) < factor * (1000 if factor < 1 else 60) or name == "min":
                return f"{value / factor:.3g} {name}"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    if unit == "locale":
        return f"{value:,.0f}"
    short = f"{value / 1000:.3g} K" if abs(value) >= 1000 else f"{value:.3g}"
    return short + (" c/s" if unit == "cps" else "")


def overrides(panel, name, what):
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == name:
            for one in override["properties"]:
                if one["id"] == what:
                    return one["value"]
    return None


def unit_of(panel, name=None):
    return overrides(panel, name, "unit") or panel["fieldConfig"]["defaults"]["unit"]


def threshold_color(panel, value):
    color = "text"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    return COLORS.get(color, color)


class Place:
    """A panel's rectangle in the picture, in inches."""

    def __init__(self, figure, panel, top):
        at = panel["gridPos"]
        self.figure, self.height = figure, figure.get_figheight()
        self.w, self.h = at["w"] * WIDTH / 24 - 0.08, at["h"] * UNIT - 0.08
        self.x, self.y = at["x"] * WIDTH / 24 + 0.04, self.height - (at["y"] - top + at["h"]) * UNIT + 0.04
        figure.patches.append(Rectangle(self.fraction(self.x, self.y), self.w / WIDTH, self.h / self.height,
                                        transform=figure.transFigure, facecolor="white", edgecolor=FRAME, linewidth=0.8, zorder=-1))
        self.text(0.1, self.h - 0.1, panel["title"], size=9, weight="bold", va="top")

    def fraction(self, x, y):
        return x / WIDTH, y / self.height

    def text(self, x, y, text, size=8.0, color=INK, **more):
        return self.figure.text(*self.fraction(self.x + x, self.y + y), text, fontsize=size, color=color, **PLAIN, **more)

    def axes(self, left, bottom, right, top):
        x, y = self.fraction(self.x + left, self.y + bottom)
        axes = self.figure.add_axes((x, y, (self.w - left - right) / WIDTH, (self.h - bottom - top) / self.height))
        axes.tick_params(which="both", labelsize=7, colors=PALE, length=0)
        axes.set_facecolor("none")
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def nothing(self, panel):
        text = panel["fieldConfig"]["defaults"]["noValue"]
        self.text(self.w / 2, self.h / 2, text, color=PALE, ha="center", va="center", size=8)


def legend(place, names, colors):
    """Draw the legend below the graph, and return its height."""
    lines, x = [[]], 0.1
    for name, color in zip(names, colors):
        width = 0.22 + 0.068 * len(name)
        if x + width > place.w and lines[-1]:
            lines.append([])
            x = 0.1
        lines[-1].append((x, name, color))
        x += width
    for n, line in enumerate(reversed(lines)):
        for x, name, color in line:
            place.text(x, 0.1 + 0.17 * n, "\u25ac", color=color, size=7)
            place.text(x + 0.14, 0.1 + 0.17 * n, name, size=7)
    return 0.17 * len(lines) + 0.1


def over_time(axes, seconds):
    axes.set_xlim(0, seconds)
    ticks = [at for at in range(0, seconds + 1, 30)]
    axes.set_xticks(ticks, [f"{at // 60}:{at % 60:02}" for at in ticks])


def draw_timeseries(place, panel, prometheus):
    series = [one for one in prometheus.series(panel) if any(value == value for value in one[2])]
    if not series:
        return place.nothing(panel)
    defaults = panel["fieldConfig"]["defaults"]
    names, palette = [name for name, _, _ in series], iter(PALETTE * 3)
    fixed = [overrides(panel, name, "color") for name in names]
    colors = [COLORS.get(f["fixedColor"], f["fixedColor"]) if f else next(palette) for f in fixed]
    bottom = legend(place, names, colors) + 0.22
    axes = place.axes(0.65, bottom, 0.15, 0.38)
    if defaults["custom"]["stacking"]["mode"] == "normal":
        at = range(prometheus.seconds + 1)
        known = [dict(zip(map(int, when), values)) for _, when, values in series]
        axes.stackplot(at, [[of.get(second, 0) for second in at] for of in known], colors=colors, alpha=0.75, linewidth=0)
    else:
        for (_, when, values), color in zip(series, colors):
            axes.plot(when, values, color=color, linewidth=1.4)
    if defaults["custom"]["scaleDistribution"]["type"] == "log":
        axes.set_yscale("log")
    else:
        top = defaults.get("max", max(axes.get_ylim()[1], 1e-9))
        axes.set_ylim(defaults.get("min"), top if any(any(values) for _, _, values in series) else 1)
    if unit_of(panel) == "bytes":
        axes.yaxis.set_major_locator(MultipleLocator(2**20 * max(1, round(axes.get_ylim()[1] / 2**20 / 5))))
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, unit_of(panel)))
    axes.yaxis.set_minor_formatter(lambda *_: "")
    axes.grid(axis="y", color="#eaeef2", linewidth=0.8)
    axes.set_axisbelow(True)
    over_time(axes, prometheus.seconds)
    return None


def draw_stat(place, panel, prometheus):
    series = list(prometheus.series(panel))
    if not series:
        return place.nothing(panel)
    _, at, values = series[0]
    value, color = values[-1], threshold_color(panel, values[-1])
    place.text(place.w / 2, place.h * 0.45, shown(value, unit_of(panel)), size=19, color=color, ha="center", va="center")
    if panel["options"]["graphMode"] == "area":
        axes = place.axes(0.05, 0.05, 0.05, place.h * 0.72)
        axes.fill_between(at, values, color=PALETTE[0], alpha=0.35, linewidth=0)
        axes.set_xlim(0, prometheus.seconds)
        axes.set_axis_off()
    return None


def rows_of(panel, prometheus):
    """Apply a table's transformations, and return its column names and rows."""
    organize = next(t["options"] for t in panel["transformations"] if t["id"] == "organize")
    columns, rows = list(organize["indexByName"]), {}
    for target in panel["targets"]:
        value = f"Value #{target['refId']}" if len(panel["targets"]) > 1 else "Value"
        for one in prometheus.ask(target["expr"], False):
            labels = {label: one["metric"].get(label, "") for label in columns if not label.startswith("Value")}
            rows.setdefault(tuple(labels.values()), labels)[value] = float(one["value"][1])
    names = organize["renameByName"]
    renamed = [{names[column]: row.get(column) for column in columns} for row in rows.values()]
    for sort in panel["options"]["sortBy"]:
        renamed.sort(key=lambda row: row[sort["displayName"]] or 0, reverse=sort["desc"])
    return [names[column] for column in columns], renamed


def draw_table(place, panel, prometheus):
    columns, rows = rows_of(panel, prometheus)
    if not rows:
        return place.nothing(panel)
    step, fits = 0.2, int((place.h - 0.75) / 0.2)
    lefts, x = [], 0.12
    are_text = [isinstance(rows[0][column], str) for column in columns]
    for is_text in are_text:
        lefts.append(x)
        x += (place.w - 0.25) * (2 if is_text else 1) / sum(2 if t else 1 for t in are_text)
    for column, left in zip(columns, lefts):
        place.text(left, place.h - 0.5, column, size=7.5, color=COLORS["blue"], weight="bold")
    for n, row in enumerate(rows[:fits]):
        for column, left in zip(columns, lefts):
            value = row[column]
            text = value if isinstance(value, str) else "" if value is None else shown(value, unit_of(panel, column))
            place.text(left, place.h - 0.72 - n * step, text, size=7.5)
    if len(rows) > fits:
        place.text(place.w - 0.1, 0.06, f"{len(rows) - fits} more", size=7, color=PALE, ha="right")
    return None


def draw_heatmap(place, panel, prometheus):
    series = {float(name): dict(zip(map(int, at), values)) for name, at, values in prometheus.series(panel)}
    if not series:
        return place.nothing(panel)
    bounds = sorted(series)
    at = range(prometheus.seconds + 1)
    cells, below = [], dict.fromkeys(at, 0.0)
    for bound in bounds:
        cells.append([max(series[bound].get(second, 0) - below[second], 0) for second in at])
        below = {second: series[bound].get(second, 0) for second in at}
    used = [n for n, cell in enumerate(cells) if any(cell)] or [0]
    low, high = max(used[0] - 1, 0), min(used[-1] + 2, len(bounds))
    axes = place.axes(0.65, 0.3, 0.15, 0.38)
    axes.pcolormesh(range(prometheus.seconds + 2), range(low, high + 1), cells[low:high], cmap="Blues",
                    norm=PowerNorm(panel["options"]["color"]["exponent"]))
    unit = panel["options"]["yAxis"]["unit"]
    names = ["more" if bounds[n] == float("inf") else shown(bounds[n], unit) for n in range(low, high)]
    axes.set_yticks([n + 0.5 for n in range(low, high)], names)
    over_time(axes, prometheus.seconds)
    return None


def draw_text(place, panel, _):
    y, in_code = place.h - 0.5, False
    for line in panel["options"]["content"].replace("`/etc", "/etc").replace(".toml`", ".toml").split("\n"):
        if line.startswith("```"):
            in_code = not in_code
            continue
        while line is not None:
            room = int(place.w / (0.082 if in_code else 0.068))
            cut = len(line) if len(line) <= room else line.rfind(" ", 0, room)
            more = {"family": "monospace"} if in_code else {}
            place.text(0.12, y, line[:cut].replace("`", ""), size=7.5, **more)
            line, y = (line[cut + 1:] if cut < len(line) else None), y - 0.165


DRAW = {"timeseries": draw_timeseries, "stat": draw_stat, "table": draw_table, "heatmap": draw_heatmap, "text": draw_text}


def draw_row(row, panels, prometheus, directory):
    top = row["gridPos"]["y"]
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels) - top
    figure = plt.figure(figsize=(WIDTH, height * UNIT + 0.2), facecolor="#f6f8fa")
    figure.text(0.006, 1 - 0.26 / figure.get_figheight(), row["title"], fontsize=11, weight="bold", color=INK)
    for panel in panels:
        DRAW[panel["type"]](Place(figure, panel, top), panel, prometheus)
    figure.text(0.994, 0.04 / figure.get_figheight(), "drawn by docs/pictures/dashboard.py from the queries of the dashboard; not a screenshot of Grafana",
                fontsize=6.5, color=PALE, ha="right")
    name = re.sub(r"\W+", "-", row["title"].lower().split(" and ")[0])
    figure.savefig(f"{directory}/dashboard-{name}.png", dpi=DPI, facecolor=figure.get_facecolor(), pil_kwargs={"optimize": True})
    plt.close(figure)


def main():
    file, url, seconds, directory = sys.argv[1:]
    prometheus, rows = Prometheus(url, int(seconds)), []
    with open(file, encoding="utf-8") as dashboard:
        for panel in json.load(dashboard)["panels"]:
            if panel["type"] == "row":
                rows.append((panel, []))
            else:
                rows[-1][1].append(panel)
    for row, panels in rows:
        draw_row(row, panels, prometheus, directory)


main()
