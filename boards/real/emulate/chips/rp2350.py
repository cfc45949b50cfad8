"""Raspberry Pi's RP2350."""

from unicorn.arm_const import UC_CPU_ARM_CORTEX_M33

from . import rp

CLOCKS, RESETS, XOSC, PLLS = 0x4001_0000, 0x4002_0000, 0x4004_8000, (0x4005_0000, 0x4005_8000)
UART0, TIMER0, TRNG, TICKS = 0x4007_0000, 0x400B_0000, 0x400F_0000, 0x4010_8000


def arm(machine):
    """Its Cortex-M33. The boot ROM would start the program by the vector table at the beginning of the flash."""
    machine.cortex_m(UC_CPU_ARM_CORTEX_M33, vectors=0x1000_0000)
    chip(machine)


def riscv(machine):
    """Its Hazard3."""
    machine.riscv()
    chip(machine)


def chip(machine):
    machine.flash(0x1000_0000, 4 << 20)
    machine.ram(0x2000_0000, 520 << 10)
    rp.chip(machine, CLOCKS, RESETS, XOSC, PLLS, UART0, TIMER0)
    for tick in range(6):
        machine.ready(TICKS + 12 * tick, ones=2)
    machine.ready(TRNG + 0x110, ones=1)
    for word in range(6):
        machine.random(TRNG + 0x114 + 4 * word)
