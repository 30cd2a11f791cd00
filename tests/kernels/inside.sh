#!/bin/bash
# PID 1 of the virtual machine, as root in the distribution's root file system: runs pytest, says
# its status, and switches off. Words for pytest stand in /opt/arguments, one in each line.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/netns /var/lib/nvid /dev/shm
mount -t tmpfs tmpfs /dev/shm
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
export HOME=/root PYTHONPATH=/opt/nvid NVID_INSIDE_KERNEL=1 NVID_TEST_PATIENCE=6
ip link set lo up
mapfile -t arguments </opt/arguments
cd /opt/nvid || exit
.venv/bin/python3 -m pytest "${arguments[@]}"
echo "status $?"
sync
echo o >/proc/sysrq-trigger
# PID 1 must not end before the machine does.
sleep infinity
