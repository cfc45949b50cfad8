"""Runs a board's firmware without the board and prints what it sends to its console.

    pip install -r boards/real/emulate/requirements.txt
    python boards/real/emulate pico2 target/…/release/my-badge --send x

There are no interrupts and no time: what a program measures with a timer means nothing here.
"""

import argparse
import sys

from chips import BOARDS
from elf import Elf
from machine import Machine


def main():
    parser = argparse.ArgumentParser(prog="emulate", description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="name the boards, and end")
    parser.add_argument("board", nargs="?", help="the board's folder in boards/real")
    parser.add_argument("elf", nargs="?", help="the firmware, an ELF file")
    parser.add_argument("--until", metavar="TEXT", default="crc32 = ", help="end after a line that begins so (%(default)r)")
    parser.add_argument("--send", metavar="TEXT", default="", help="what the board's console receives")
    parser.add_argument("--limit", type=float, default=120, help="seconds after which to give up (%(default)s)")
    arguments = parser.parse_args()
    if arguments.list:
        print(*BOARDS, sep="\n")
        return None
    if arguments.board not in BOARDS or arguments.elf is None:
        parser.error(f"give a board and an ELF file; boards: {', '.join(BOARDS)}")
    try:
        machine = Machine(Elf(arguments.elf), arguments.until, arguments.send.encode())
        BOARDS[arguments.board](machine)
        problem = machine.run(arguments.limit)
    except (OSError, ValueError) as error:
        problem = error
    return problem and f"{arguments.board}: {problem}"


sys.exit(main())
