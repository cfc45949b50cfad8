"""A chip each: functions that make a machine of it. `BOARDS` says which chip is on which board."""

from . import esp32c3, esp32c6, nrf52, rp2040, rp2350, stm32

BOARDS = {
    "b-l475e-iot01a": stm32.l475,
    "esp32c3": esp32c3.chip,
    "esp32c6": esp32c6.chip,
    "microbit-v2": nrf52.nrf52833,
    "nrf52840-dk": nrf52.nrf52840,
    "nucleo-f446re": stm32.f446,
    "nucleo-h743zi": stm32.h743,
    "pico": rp2040.chip,
    "pico2": rp2350.arm,
    "pico2-riscv": rp2350.riscv,
}
