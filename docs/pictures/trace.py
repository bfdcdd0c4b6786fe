#!/usr/bin/env python3
"""Draw docs/trace.svg: the output of `execsnoopd trace` on a terminal while a few programs run.

Needs root, cgroup v2 and python3-rich, and tracefs if the kernel needs it for failed execs. The
programs run in a separate cgroup, so that the picture contains no other programs of the host.
"""

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 128, 40
ARGS = ["--exits", "--failed", "--path", "--args", "--timestamps", "relative"]

# The programs: a pipe, a missing file, a file that is not a program, a crash, and a name that would
# clear the screen.
SCENE = r"""
echo 0 >"$1/cgroup.procs"
setpriv --reuid 33 --clear-groups sh -c 'getconf PAGE_SIZE | tr 4 5' >/dev/null
env no-such-program 2>/dev/null
env /etc/passwd 2>/dev/null
sh -c 'kill -SEGV $$' 2>/dev/null
./hello '"quoted"' "$(printf '\033[2J')"
sleep 0.2
"""

# rich's own template, without its remote fonts.
TEMPLATE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{
    font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
    font-size: {char_height}px;
    line-height: {line_height}px;
}}
.{unique_id}-title {{ font-family: system-ui, sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def cgroup2() -> Path:
    """Return the mount point of cgroup v2."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, directory, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(directory)
    sys.exit("cgroup v2 is not mounted")


def on_a_terminal(command: list[str], cgroup: Path, stage: str) -> str:
    """Return the terminal output of the command while the programs run in the cgroup."""
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    with subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE) as trace:
        os.close(terminal)
        # trace prints this line once its BPF programs are attached.
        for line in trace.stderr:
            if b"tracing by" in line:
                break
        else:
            sys.exit("trace did not start")
        play = ["/bin/sh", "-c", SCENE, "sh", str(cgroup)]
        subprocess.run(play, cwd=stage, env={"PATH": "/usr/bin"}, check=True)
        time.sleep(0.5)
        trace.terminate()
        written = b""
        while True:
            try:
                written += os.read(reader, 65536)
            except OSError:  # the other end is closed
                break
        trace.communicate()
    return written.decode().replace("\r\n", "\n")


def draw(text: str, out: Path) -> None:
    """Draw the terminal with this output."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))
    shown = "execsnoopd trace " + " ".join(ARGS)
    console.print(f"[bold]#[/bold] {shown}", highlight=False)
    console.print(Text.from_ansi(text))
    console.save_svg(str(out), title="", code_format=TEMPLATE, unique_id="trace")


def main() -> None:
    """Run the programs, and draw the output."""
    program, out = sys.argv[1], Path(sys.argv[2])
    cgroup = cgroup2() / "execsnoopd-picture"
    command = [program, "trace", *ARGS, "--cgroup", str(cgroup)]
    with tempfile.TemporaryDirectory() as stage:
        shutil.copy("/bin/true", f"{stage}/hello")
        cgroup.mkdir()
        try:
            text = on_a_terminal(command, cgroup, stage)
        finally:
            cgroup.rmdir()
    draw(text, out)


if __name__ == "__main__":
    main()
