# For hosts without virtualization, as CI runners often are. cx16=off: kernels
# from 6.12 on fail at random under QEMU 7.2's own emulation otherwise.
accelerator = "tcg"
ssh_timeout = "30m"
qemuargs    = [["-cpu", "Westmere,cx16=off"]]
