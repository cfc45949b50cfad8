"""STMicroelectronics' STM32 families. A clock that is switched on says that it runs, a bit or two above."""

from unicorn.arm_const import UC_CPU_ARM_CORTEX_M4, UC_CPU_ARM_CORTEX_M7

from .consoles import stm32_usart, stm32_usart_v2

DWT_CYCLES = 0xE000_1004


def f446(machine):
    machine.cortex_m(UC_CPU_ARM_CORTEX_M4, vectors=0x0800_0000)
    chip(machine, flash=512, ram={0x2000_0000: 128})
    rcc, pwr, adc = 0x4002_3800, 0x4000_7000, 0x4001_2000
    machine.follow(rcc, mask=0x0101_0001, shift=1)
    machine.follow(rcc + 8, mask=3, shift=2)
    machine.follow(rcc + 0x74, mask=1, shift=1)
    machine.ready(pwr + 4, ones=0x3_4000)
    machine.ready(adc, ones=0x12)
    machine.random(adc + 0x4C, shift=20)
    stm32_usart(machine, 0x4000_4400)


def l475(machine):
    machine.cortex_m(UC_CPU_ARM_CORTEX_M4, vectors=0x0800_0000)
    chip(machine, flash=1024, ram={0x2000_0000: 96, 0x1000_0000: 32})
    rcc, random = 0x4002_1000, 0x5006_0800
    machine.registers[rcc] = 1
    machine.follow(rcc, mask=0x1501_0001, shift=1, also=(0x100, 2))
    machine.follow(rcc + 8, mask=3, shift=2)
    machine.follow(rcc + 0x94, mask=1, shift=1)
    machine.ready(random + 4, ones=1)
    machine.random(random + 8)
    stm32_usart_v2(machine, 0x4001_3800)


def h743(machine):
    machine.cortex_m(UC_CPU_ARM_CORTEX_M7, vectors=0x0800_0000)
    chip(machine, flash=2048, ram={0x2000_0000: 128, 0x2400_0000: 512, 0x3000_0000: 288, 0x3800_0000: 64, 0: 64})
    rcc, pwr, random = 0x5802_4400, 0x5802_4800, 0x4802_1800
    machine.registers[rcc] = 1
    machine.follow(rcc, mask=0x1501_1080, shift=1, also=(1, 2))
    machine.follow(rcc + 0x10, mask=7, shift=3)
    machine.follow(rcc + 0x74, mask=1, shift=1)
    machine.ready(pwr + 4, ones=1 << 13)
    machine.ready(pwr + 0x18, ones=1 << 13)
    machine.ready(random + 4, ones=1)
    machine.random(random + 8)
    stm32_usart_v2(machine, 0x4000_4800)


def chip(machine, flash, ram):
    machine.flash(0x0800_0000, flash << 10)
    for base, size in ram.items():
        machine.ram(base, size << 10)
    machine.peripherals(0x4000_0000, 0x2000_0000)
    machine.counter(DWT_CYCLES, step=8000)
