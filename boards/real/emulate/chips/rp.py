"""What Raspberry Pi's chips share; their peripherals lie at different addresses."""

from .consoles import pl011

SIO, SPINLOCKS = 0xD000_0000, 0xD000_0100


def chip(machine, clocks, resets, xosc, plls, uart, timer):
    machine.peripherals(0x4000_0000, 0x1040_0000, atomic=True)
    machine.peripherals(SIO, 0x1000)
    for spinlock in range(32):
        machine.ready(SPINLOCKS + 4 * spinlock, ones=1)
    machine.ready(xosc + 4, ones=1 << 31)
    for pll in plls:
        machine.ready(pll, ones=1 << 31)
    machine.mirror(resets + 8, lambda read: ~read(resets))
    # The reference clock and the system clock show which source has been chosen, one bit for each.
    for control in (clocks + 0x30, clocks + 0x3C):
        machine.mirror(control + 8, lambda read, control=control: 1 << (read(control) & 3))
    machine.counter(timer + 0x28, step=100)
    pl011(machine, uart)
