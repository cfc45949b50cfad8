"""Raspberry Pi's RP2040."""

from unicorn.arm_const import UC_CPU_ARM_CORTEX_M0

from . import rp

CLOCKS, RESETS, XOSC, PLLS = 0x4000_8000, 0x4000_C000, 0x4002_4000, (0x4002_8000, 0x4002_C000)
UART0, TIMER, ROSC = 0x4003_4000, 0x4005_4000, 0x4006_0000


def chip(machine):
    """The second stage of the boot ROM, which fills the flash's first 256 bytes, would start what follows it."""
    machine.cortex_m(UC_CPU_ARM_CORTEX_M0, vectors=0x1000_0100)
    machine.flash(0x1000_0000, 2 << 20)
    machine.ram(0x2000_0000, 264 << 10)
    rp.chip(machine, CLOCKS, RESETS, XOSC, PLLS, UART0, TIMER)
    machine.random(ROSC + 0x1C)
