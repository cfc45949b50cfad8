"""Espressif's ESP32-C6."""

from . import rom
from .consoles import esp_uart

UART0, SPI2, TIMG0, SYSTIMER = 0x6000_0000, 0x6008_1000, 0x6000_8000, 0x6000_A000
ANALOG, RNG = 0x600A_F800, 0x600B_2808


def chip(machine):
    """The bootloader would show the flash and start the program at the ELF's entry point."""
    machine.riscv(cycles=0x7E2)
    machine.flash(0x4200_0000, 8 << 20)
    machine.ram(0x4080_0000, 0x8_0000)
    machine.ram(0x5000_0000, 0x4000)
    machine.peripherals(0x2000_0000, 0x2000)
    machine.peripherals(0x6000_0000, 0x10_0000)
    esp_uart(machine, UART0, update=0x98)
    machine.ready(ANALOG + 0x18, ones=1 << 24)
    machine.ready(SPI2, ones=0, zeros=3 << 23)
    # As for the ESP32-C3.
    machine.ready(TIMG0 + 0x68, ones=1 << 15)
    machine.ready(TIMG0 + 0x6C, ones=300_000 << 7)
    machine.ready(SYSTIMER + 4, ones=1 << 29)
    machine.counter(SYSTIMER + 0x44, step=1600, latch=SYSTIMER + 4)
    machine.random(RNG)
    rom.add(machine, 0x4000_0000, 0x5_0000)
