"""Espressif's ESP32-C3."""

from . import rom
from .consoles import esp_uart

UART0, SPI2, TIMG0, SYSTIMER, RNG = 0x6000_0000, 0x6002_4000, 0x6001_F000, 0x6002_3000, 0x6002_60B0


def chip(machine):
    """The bootloader would show the flash at two places and start the program at the ELF's entry point."""
    machine.riscv(cycles=0x7E2)
    machine.flash(0x3C00_0000, 8 << 20)
    machine.flash(0x4200_0000, 8 << 20)
    machine.ram(0x3FC8_0000, 0x6_0000)
    machine.ram(0x4037_C000, 0x6_4000)
    machine.peripherals(0x6000_0000, 0x10_0000)
    esp_uart(machine, UART0, update=0x80)
    machine.ready(SPI2, ones=0, zeros=3 << 23)
    # A clock of some 136 kHz has been measured: 1024 of its periods are so many of the crystal.
    machine.ready(TIMG0 + 0x68, ones=1 << 15)
    machine.ready(TIMG0 + 0x6C, ones=300_000 << 7)
    machine.ready(SYSTIMER + 4, ones=1 << 29)
    machine.counter(SYSTIMER + 0x44, step=1600, latch=SYSTIMER + 4)
    machine.random(RNG)
    rom.add(machine, 0x4000_0000, 0x6_0000)
