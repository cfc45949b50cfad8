"""Nordic's nRF52 family."""

from unicorn.arm_const import UC_CPU_ARM_CORTEX_M4

from .consoles import uarte

CLOCK, UARTE0, RNG, DWT_CYCLES = 0x4000_0000, 0x4000_2000, 0x4000_D000, 0xE000_1004


def nrf52833(machine):
    chip(machine, flash=512, ram=128)


def nrf52840(machine):
    chip(machine, flash=1024, ram=256)


def chip(machine, flash, ram):
    machine.cortex_m(UC_CPU_ARM_CORTEX_M4, vectors=0)
    machine.flash(0, flash << 10)
    machine.ram(0x2000_0000, ram << 10)
    machine.peripherals(0x4000_0000, 0x4_0000)
    machine.peripherals(0x5000_0000, 0x1000)
    for started in (0x100, 0x104):
        machine.ready(CLOCK + started, ones=1)
    machine.ready(RNG + 0x100, ones=1)
    machine.random(RNG + 0x508, shift=24)
    machine.counter(DWT_CYCLES, step=6400)
    uarte(machine, UARTE0)
